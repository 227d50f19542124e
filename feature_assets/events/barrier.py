"""The one place that compares a time with t: which rows and which values are known before an instant.

`View` (the past) and `Window` (the future, for labels only) are made of these cuts; nobody else needs them. What each
table declares about its times stands in `data/known.py`.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from feature_assets.data.encoding import Encoding
from feature_assets.data.known import KNOWN

_EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def known_before(rows: Encoding, t: int) -> np.ndarray:
    """Whether each row was known strictly before the local midnight of day t (days since 1970-01-01), bool [N]."""
    return rows.day < t


def known_between(rows: Encoding, first: int, end: int) -> np.ndarray:
    """Whether each row became known on one of the local days [first, end), bool [N]."""
    return (rows.day >= first) & (rows.day < end)


def values_before(rows: Encoding, name: str, index: np.ndarray, t: int) -> np.ndarray:
    """Column `name` of the rows `index` as float64 [M], NaN where its value came about at t or later."""
    values = rows.values(name)[index]
    since = KNOWN[rows.table].columns.get(name)
    if since is None:
        return values
    came = values if since == name else rows.values(since)[index]
    return np.where(came < t, values, np.nan)


def frame_before(table: str, frame: pl.DataFrame, t: date) -> pl.DataFrame:
    """The rows of a contract table that are known strictly before t, values that came about later replaced by null."""
    known = KNOWN[table]
    if known.row is None:
        return frame
    if known.is_instant:
        raise ValueError(f"{table} has instants, not days: read its events")
    frame = frame.filter(pl.col(known.row) < t)
    later = [pl.when(pl.col(since) < t).then(pl.col(name)).alias(name) for name, since in known.columns.items()]
    return frame.with_columns(later)
