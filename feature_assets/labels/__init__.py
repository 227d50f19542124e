"""Labels: the outcome of each task in [t, t + window), as a pure function of events and of a fitted state.

Here belong the declarations of the tasks with their label functions and with the customers for whom they are defined,
the fitted state of the labels (vocabularies, quantiles, edges; training windows only), base rates and the leak check.
Features and the choice of snapshots do not.
Source: DATA §3.
"""

from feature_assets.labels.compute import compute_labels
from feature_assets.labels.eligibility import eligible
from feature_assets.labels.enough import NotEnoughLabels, with_enough
from feature_assets.labels.fit import fit_labels
from feature_assets.labels.leaks import leak_check
from feature_assets.labels.rates import base_rates, exposure_rates
from feature_assets.labels.registry import (
    describe,
    every_task,
    get_task,
    markdown,
    register,
    relations,
    tasks,
    why_off,
    windows,
)
from feature_assets.labels.state import LabelState
from feature_assets.labels.task import Task

__all__ = [
    "LabelState",
    "NotEnoughLabels",
    "Task",
    "base_rates",
    "compute_labels",
    "describe",
    "eligible",
    "every_task",
    "exposure_rates",
    "fit_labels",
    "get_task",
    "leak_check",
    "markdown",
    "register",
    "relations",
    "tasks",
    "why_off",
    "windows",
    "with_enough",
]
