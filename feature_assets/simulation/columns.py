"""From arrays to columns: names by index, days, instants, nulls."""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.simulation.calendar import Calendar
from feature_assets.simulation.holdings import NEVER


def text(values: tuple[str, ...] | np.ndarray, index: np.ndarray) -> pl.Series:
    """Strings by index; a negative index is null."""
    missing = index < 0
    names = pl.Series(values, dtype=pl.String)
    chosen = names.gather(np.where(missing, 0, index).astype(np.uint32))
    if not missing.any():
        return chosen
    return chosen.zip_with(pl.Series(~missing), pl.Series([None], dtype=pl.String))


def days(calendar: Calendar, day: np.ndarray, never: int = NEVER) -> pl.Series:
    series = pl.Series((calendar.first + np.where(day == never, 0, day)).astype(np.int32)).cast(pl.Date)
    return series.zip_with(pl.Series(day != never), pl.Series([None], dtype=pl.Date))


def at(calendar: Calendar, day: np.ndarray, second: np.ndarray) -> pl.Series:
    return pl.Series(calendar.instants(day, second)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def number(values: np.ndarray) -> pl.Series:
    """Float64, NaN as null."""
    return pl.Series(values, dtype=pl.Float64, nan_to_null=True)
