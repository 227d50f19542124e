"""Fitting the labels on training windows: each task fits its classes and its part of the state. Source: LESSONS 20."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from feature_assets.data.tables import Tables
from feature_assets.labels.context import Training
from feature_assets.labels.registry import tasks
from feature_assets.labels.state import LabelState
from feature_assets.snapshots import SnapshotPlan


def fit_labels(tables: Tables, plan: SnapshotPlan) -> LabelState:
    """Fit on the training snapshots of `plan` whose windows of H days are usable.

    A window of training never reaches past `plan.holdout_start`, so no later event can change the state.
    """
    horizon = timedelta(days=tables.dataset.horizon_days)
    training = Training(tables, tuple(t for t in plan.train if t + horizon <= plan.holdout_start))
    classes: dict[str, list[str]] = {}
    fitted: dict[str, Any] = {}
    for task in tasks(tables.dataset):
        names = task.fitted_classes(training)
        if names is not None:
            classes[task.name] = names
        if task.fit is not None:
            fitted |= task.fit(training)
    return LabelState(fitted_until=training.dates[-1] + horizon, classes=classes, **fitted)
