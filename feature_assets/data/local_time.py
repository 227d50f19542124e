"""Local days and times of day of instants, at the price of a division a row.

A zone's offset is looked up once a quarter of an hour and not once a row: since 1972-01-08 no zone has changed its
offset at any other instant.
"""

from __future__ import annotations

import numpy as np
import polars as pl

_QUARTER = 15 * 60 * 1_000_000  # microseconds


def local_clock(at: pl.Series, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Local day as days since 1970-01-01, and whole seconds of wall-clock time since its midnight, int32 [N] each.

    Args:
        at: instants from 1972-01-08 on, Datetime in microseconds and UTC, without nulls.
        zone: name of the local time zone.
    """
    if not len(at):
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    instant = at.to_physical().to_numpy()
    quarter = instant // _QUARTER
    first, last = int(quarter.min()), int(quarter.max())
    starts = np.arange(first, last + 1, dtype=np.int64) * _QUARTER
    wall = pl.Series(starts).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone).dt.replace_time_zone(None)
    offset = wall.to_physical().to_numpy() - starts
    seconds = (instant + offset[quarter - first]) // 1_000_000
    day = seconds // 86_400
    return day.astype(np.int32), (seconds - day * 86_400).astype(np.int32)
