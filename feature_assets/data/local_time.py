"""Local time: from instants to the days and clocks of a zone, and from a zone's days to instants. The only such place.

One policy for the hours that a change of the clock removes or doubles: **a local time stands for the first instant at
which the zone's clocks have reached it.** A midnight that is removed is the instant of the change, one that happens
twice is the first of both, and a day that a zone left out altogether begins and ends in one instant. From instants to
local times nothing is ambiguous.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

Hour = Literal["earlier", "later", "error"]
"""What a local time means in an hour that a change of the clocks removes or doubles, where a source says so itself."""
AMBIGUOUS: dict[Hour, Literal["earliest", "latest", "null"]] = {
    "earlier": "earliest",
    "later": "latest",
    "error": "null",
}
_QUARTER = 15 * 60 * 1_000_000  # microseconds
_LONGEST_GAP = 2 * 86_400  # seconds; zones at the date line have left out a whole day


def instant_of(local: datetime, zone: str) -> datetime:
    """UTC instant of a naive local time, by the policy above. At both ends of the calendar, where there is no room for
    an offset, the same time in UTC."""
    own = ZoneInfo(zone)

    def shown(at: datetime) -> datetime:
        return at.astimezone(own).replace(tzinfo=None)

    try:
        instant = local.replace(tzinfo=own).astimezone(UTC)  # of a doubled hour the first one: Python's default
        if shown(instant) == local:
            return instant
        begin = instant.replace(microsecond=0) - timedelta(seconds=_LONGEST_GAP)
        passed = range(_LONGEST_GAP)
        after = bisect_left(passed, True, key=lambda second: shown(begin + timedelta(seconds=second)) >= local)
        return begin + timedelta(seconds=after)
    except OverflowError:
        return local.replace(tzinfo=UTC)


def day_start(day: date, zone: str) -> datetime:
    """Local midnight of `day` as a UTC instant."""
    return instant_of(datetime.combine(day, time()), zone)


def day_starts(days: pl.Series, zone: str) -> pl.Series:
    """`day_start` of each Date [N] as Datetime in microseconds and UTC; null stays null."""
    different = days.drop_nulls().unique()
    starts = pl.Series([day_start(day, zone) for day in different], dtype=pl.Datetime("us", "UTC"))
    return days.replace_strict(different, starts, default=None, return_dtype=starts.dtype)


def instants(local: pl.Expr, zone: str, removed: Hour, doubled: Hour) -> pl.Expr:
    """Naive local times as instants, naive in UTC, where a source states what it means in the hours of a change.

    Args:
        removed: a time that the clocks leave out counts by the offset of the day before ("later": 02:30 is what the
            clocks call 03:30), of the day after ("earlier": 01:30), or is null ("error").
        doubled: of both instants the earlier one, the later one, or null ("error").
    """
    which = AMBIGUOUS[doubled]
    there = local.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.convert_time_zone("UTC")
    if removed != "error":
        day = pl.duration(days=1) if removed == "later" else pl.duration(days=-1)
        beside = (local - day).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        gone = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").is_null()
        there = pl.when(gone).then(beside.dt.convert_time_zone("UTC") + day).otherwise(there)
    return there.dt.replace_time_zone(None)


def local_day(at: pl.Expr, zone: str) -> pl.Expr:
    """Local day of instants in UTC, as Date."""
    return at.dt.convert_time_zone(zone).dt.date()


def today(zone: str, now: datetime) -> date:
    """Local day of an instant with a zone of its own."""
    return now.astimezone(ZoneInfo(zone)).date()


def wall_time(at: datetime, zone: str) -> datetime:
    """What a clock of the zone shows at an instant, without the zone."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def wall_times(at: pl.Expr, zone: str) -> pl.Expr:
    """What a clock of the zone shows at instants in UTC, as Datetime."""
    return at.dt.convert_time_zone(zone).dt.replace_time_zone(None)


def local_clock(at: pl.Series, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Local day as days since 1970-01-01, and whole seconds of wall-clock time since its midnight, int32 [N] each.

    At the price of a division a row: the offset is looked up once a quarter of an hour. Only the rows of a quarter of
    an hour at whose ends it differs are looked up one by one, since some zones change at a minute past midnight.

    Args:
        at: instants, Datetime in microseconds and UTC, without nulls.
        zone: name of the local time zone.
    """
    if not len(at):
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    instant = at.to_physical().to_numpy()
    quarter = instant // _QUARTER
    first, last = int(quarter.min()), int(quarter.max())
    offsets = _offsets(np.arange(first, last + 2, dtype=np.int64) * _QUARTER, zone)
    offset = offsets[quarter - first]
    changing = np.flatnonzero(offset != offsets[quarter - first + 1])
    offset[changing] = _offsets(instant[changing], zone)
    seconds = (instant + offset) // 1_000_000
    day = seconds // 86_400
    return day.astype(np.int32), (seconds - day * 86_400).astype(np.int32)


def _offsets(instants: np.ndarray, zone: str) -> np.ndarray:
    """What a zone's clocks are ahead of UTC, in microseconds: int64 [N]."""
    at = pl.Series(instants, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    wall = at.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return wall.to_physical().to_numpy() - instants
