"""What a task publishes beside its predictions: u, a fallback, and a region that holds the label.

u is a share of [0, 1]: at .9 a row is more uncertain than 90 % of the validation rows. A task publishes one only where
a signal ranks its errors among equal predictions, tested on validation customers that did not choose the signal; an
uncertainty that restates the prediction, or is inverted, says nothing that a reader does not already know, or something
false.

ranking      does a signal rank the errors of equal predictions?
error_model  a candidate signal: the error that the customer's columns lead to expect
choice       which candidate a task publishes, if any
scale        from a signal to u
base_rates   what stands in for a too uncertain prediction
fallback     which predictions are replaced, where that makes them no worse
task         all of it for one task

Source: MODEL §11.
"""

from ple_model.evaluation.uncertainty.base_rates import BaseRates
from ple_model.evaluation.uncertainty.choice import ERROR_MODEL, Choice
from ple_model.evaluation.uncertainty.fallback import COVERAGE, Fallback
from ple_model.evaluation.uncertainty.task import Judged, TaskUncertainty, Validation, fit_uncertainty

__all__ = [
    "COVERAGE",
    "ERROR_MODEL",
    "BaseRates",
    "Choice",
    "Fallback",
    "Judged",
    "TaskUncertainty",
    "Validation",
    "fit_uncertainty",
]
