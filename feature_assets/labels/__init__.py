"""What a label means: the outcome of each task in [t, t + window), as a pure function of events and of a fitted state.

Here belong label definitions, their fitted state (vocabularies, quantiles, edges; training snapshots only), their base
rates and the leak check. Features and the choice of snapshots do not. Source: DATA §3.
"""

from feature_assets.labels.compute import compute_labels
from feature_assets.labels.leaks import leak_check
from feature_assets.labels.rates import base_rates, exposure_rates
from feature_assets.labels.state import LabelState, fit_labels
from feature_assets.labels.tasks import KINDS, TASK_NAMES, windows

__all__ = [
    "KINDS",
    "TASK_NAMES",
    "LabelState",
    "base_rates",
    "compute_labels",
    "exposure_rates",
    "fit_labels",
    "leak_check",
    "windows",
]
