"""The labels at a snapshot t: one column a task, null where the customer has none. Source: DATA §3."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.labels.context import Snapshot
from feature_assets.labels.registry import tasks
from feature_assets.labels.state import LabelState


def compute_labels(tables: Tables, as_of: date, state: LabelState, known_until: date) -> pl.DataFrame:
    """The labels of every customer known strictly before t = `as_of`, by events in [t, t + window) alone, with the past
    for eligibility.

    Args:
        tables: contract tables.
        as_of: the snapshot t.
        state: fitted vocabularies, quantiles and edges.
        known_until: first day whose events are not known; a task whose window reaches past it is masked.

    Returns:
        customer_id, as_of, then one column a task that is on, sorted by customer_id. Null = masked. Binary Int8 0/1;
        regression Float64 in the label's unit; multiclass Int16 index into `state.classes[task]`; brand_prediction
        List(Int32) of distinct indices, the most frequently bought first; uplift Float64 and category_uplift
        List(Float64), a number for each of `state.classes[task]`.
    """
    snapshot = Snapshot(tables, as_of, state)
    columns = []
    for task in tasks(tables.dataset):
        if as_of + timedelta(days=task.window(tables.dataset)) <= known_until:
            columns.append(task.column(snapshot))
        else:
            columns.append(pl.Series(task.name, [None] * snapshot.known.height, dtype=task.kind.dtype))
    return snapshot.known.select("customer_id", pl.lit(as_of).alias("as_of"), *columns)
