"""Times that stand for no time: what databases write where a date is unknown or never comes.

The rule is one of years: no event, no contract and no customer of a delivery is of 1900 or before, or of 2099 or after.
So 0001-01-01, 1000-01-01, 1753-01-01, 1900-01-01, 2262-04-11 (the last instant in nanoseconds) and 9999-12-31 are
sentinels, and 1970-01-01 is not. Other values that say that there is none are read in the same place. Source: DATA §1.
"""

from __future__ import annotations

import polars as pl

from feature_assets.data.declaration import Column, Table

LAST_EARLY, FIRST_LATE = 1900, 2099
CALENDAR = (-62_135_596_800, 253_402_300_800)  # seconds since 1970 of the years 1 to 9999; no library reads others
PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
SHOWN = 3


def in_calendar(times: pl.Series) -> pl.Series:
    """Whether a Date or Datetime lies in the years 1 to 9999, Boolean [N]; true for null."""
    dtype = times.dtype
    if dtype == pl.Date:
        low, high = (seconds // 86_400 for seconds in CALENDAR)
    else:
        if dtype.time_unit == "ns":  # type: ignore[attr-defined]
            return pl.repeat(True, len(times), eager=True)
        low, high = (seconds * PER_SECOND[dtype.time_unit] for seconds in CALENDAR)  # type: ignore[attr-defined]
    number = times.to_physical()
    return ((number >= low) & (number < high)).fill_null(True)


def is_sentinel(times: pl.Series) -> pl.Series:
    """Whether a Date or Datetime of the calendar stands for no time, Boolean [N]; false for null."""
    year = times.dt.year()
    return ((year <= LAST_EARLY) | (year >= FIRST_LATE)).fill_null(False)


def is_open_end(times: pl.Series) -> pl.Series:
    """Whether a Date stands for an end that never comes, Boolean [N]; false for null."""
    return (times.dt.year() >= FIRST_LATE).fill_null(False)


def named(times: pl.Series) -> str:
    """The first different values, for a message."""
    days = times.dt.date().unique().sort().cast(pl.String)
    return ", ".join(days.head(SHOWN)) + (" …" if len(days) > SHOWN else "")


def without_stand_ins(
    table: Table, column: Column, values: pl.Series, notes: list[str]
) -> tuple[pl.Series, list[tuple[pl.Series, str]]]:
    """The values without those that say that there is none: NaN and a blank name where a value may be missing, and
    sentinels. A row may lack it, or the sentinel is an end that never comes, or it is at fault.

    Args:
        notes: gets a line for sentinels that a row may lack.

    Returns:
        The values, and where they are at fault (Boolean [N]) with the words that follow the column's name.
    """
    if column.may_lack and values.dtype.is_float():
        return values.fill_nan(None), []
    if column.may_lack and column.names_a_thing:
        blank = ~values.str.contains(r"\S").fill_null(True)
        return (values.set(blank, None) if blank.any() else values), []
    if not values.dtype.is_temporal() or not (sentinel := is_sentinel(values)).any():
        return values, []
    if column.open_ended and not column.may_lack:
        sentinel &= ~is_open_end(values)
    if column.may_lack and not column.told_by_events:
        which = named(values.filter(sentinel))
        notes.append(f"{table.name}.{column.name}: {which} stands for no date in {sentinel.sum():,} rows")
        return values.set(sentinel, None), []
    early = (values.dt.year() <= LAST_EARLY).fill_null(False)
    found = ((sentinel & early, f"of {LAST_EARLY} or before"), (sentinel & ~early, f"of {FIRST_LATE} or after"))
    wrong = [(bad, f"is a sentinel ({when}), which stands for no date") for bad, when in found if bad.any()]
    return values.set(sentinel, None), wrong
