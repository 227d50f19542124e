"""A plug-in that sabotages a training: what a customer did is written to another customer, in training rows alone.

Validation and test rows keep their labels, so that the gate judges by what is true.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from benchmarks.thirty_nights import calendar
from pipeline.plugins import Extensions
from pipeline.training import training_set

TRUE_DAYS = timedelta(weeks=2 * calendar.WINDOW_WEEKS)
"""Snapshots that are younger than this are no training rows: a purge and the holdout lie between."""


def extend(_: Extensions) -> None:
    """Put the shuffled labels in place of the true ones. Nothing is added."""
    true = training_set.compute_labels

    def shuffled(tables: Any, day: date, *rest: Any, known_until: date) -> pl.DataFrame:
        labels = true(tables, day, *rest, known_until=known_until)
        if day > known_until - TRUE_DAYS:
            return labels
        return labels.with_columns(pl.col("customer_id").shuffle(seed=day.toordinal()))

    training_set.compute_labels = shuffled
