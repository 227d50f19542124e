"""The one place that compares a time with t: which rows and which values are known before an instant.

`View` (the past) and `Window` (the future, for labels only) are made of these cuts; nobody else needs them. What each
table declares about its times stands in `data/known.py`.
"""

from __future__ import annotations

from datetime import date
from typing import TypeVar

import numpy as np
import polars as pl
from numba import njit

from feature_assets.data.encoding import Encoding
from feature_assets.data.known import KNOWN
from feature_assets.data.local_time import local_day

_EPOCH = date(1970, 1, 1)
Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def rows_between(rows: Encoding, first: int | None, end: int, who: np.ndarray) -> np.ndarray:
    """The rows of some customers that became known on the local days [first, end), ascending: int64 [M].

    Args:
        rows: the encoded table.
        first: in days since 1970-01-01; None for the beginning of the data.
        end: the day after the last one: what is known strictly before its local midnight.
        who: customers, int64 ascending, as indices into the customers table.
    """
    begin = -(1 << 31) if first is None else first
    if rows.in_time:
        return _cut(rows.start, rows.day, who, begin, end)
    included = np.zeros(rows.customers, dtype=np.bool_)
    included[who] = True
    return np.flatnonzero((rows.day >= begin) & (rows.day < end) & included[rows.customer])


@njit(cache=True)
def _cut(start: np.ndarray, day: np.ndarray, who: np.ndarray, first: int, end: int) -> np.ndarray:
    """`rows_between` where each customer's rows stand in the order of time."""
    bounds = np.empty((who.size, 2), dtype=np.int64)
    size = 0
    for k in range(who.size):
        own = day[start[who[k]] : start[who[k] + 1]]
        bounds[k, 0] = start[who[k]] + np.searchsorted(own, first)
        bounds[k, 1] = start[who[k]] + np.searchsorted(own, end)
        size += bounds[k, 1] - bounds[k, 0]
    index = np.empty(size, dtype=np.int64)
    used = 0
    for k in range(who.size):
        for row in range(bounds[k, 0], bounds[k, 1]):
            index[used] = row
            used += 1
    return index


def values_before(rows: Encoding, name: str, index: np.ndarray, t: int) -> np.ndarray:
    """Column `name` of the rows `index` as float64 [M], NaN where its value came about at t or later."""
    values = rows.values(name, index)
    since = KNOWN[rows.table].columns.get(name)
    if since is None:
        return values
    came = values if since == name else rows.values(since, index)
    return np.where(came < t, values, np.nan)


def column_before(rows: Encoding, name: str, index: np.ndarray, t: int) -> pl.Series:
    """Column `name` of the rows `index` in the table's type, null where its value came about at t or later."""
    column = rows.picked(name, index)
    since = KNOWN[rows.table].columns.get(name)
    if since is None:
        return column
    came = rows.picked(since, index).to_physical()
    return column.set(came.is_null() | (came >= t), None)


def frame_before(table: str, frame: Rows, t: date) -> Rows:
    """The rows of a contract table that are known strictly before t, values that came about later replaced by null."""
    known = KNOWN[table]
    if known.row is None:
        return frame
    if known.is_instant:
        raise ValueError(f"{table} has instants, not days: read its events")
    frame = frame.filter(pl.col(known.row) < t)
    later = [pl.when(pl.col(since) < t).then(pl.col(name)).alias(name) for name, since in known.columns.items()]
    return frame.with_columns(later)


def rows_before(table: str, frame: Rows, t: date, zone: str) -> Rows:
    """`frame_before` of tables with instants too: they are known before t where they lie before its local midnight.

    Args:
        table: of the contract.
        frame: its rows, or some of them.
        t: the as-of date.
        zone: of the data set.
    """
    if KNOWN[table].is_instant:
        return frame.filter(local_day(pl.col("at"), zone) < t)
    return frame_before(table, frame, t)


def frame_between(table: str, frame: pl.DataFrame, first: date, end: date) -> pl.DataFrame:
    """Those of `frame_before` the day `end` that became known on one of the local days [first, end)."""
    row = KNOWN[table].row
    assert row is not None
    return frame_before(table, frame, end).filter(pl.col(row) >= first)
