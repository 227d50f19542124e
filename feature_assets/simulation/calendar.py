"""Days of the simulation: months, weekdays, paydays, and the UTC instants of local times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import numpy as np

from feature_assets.data.local_time import instant_of
from feature_assets.simulation.config import SimulationConfig

EPOCH = np.datetime64("1970-01-01", "D")
PAYDAYS = (1, 15, 25, 27, 31)  # days of the month on which salaries come; 31 is the last day


@dataclass(frozen=True)
class Calendar:
    """Local days 0 … days − 1.

    Attributes:
        first: days since 1970-01-01 of day 0.
        month: int64 [D], 0-based month of the simulation.
        starts: int64 [M + 1], first day of each month; the last entry is `days`.
        month_of_year: int64 [M], January 0.
        weekday: int64 [D], Monday 0.
        day_of_month: int64 [D], from 1.
        since_payday: int64 [5, D], days since the last payday of each kind.
        drift: bool [D], from the day of the drift on.
    """

    days: int
    first: int
    month: np.ndarray
    starts: np.ndarray
    month_of_year: np.ndarray
    weekday: np.ndarray
    day_of_month: np.ndarray
    since_payday: np.ndarray
    drift: np.ndarray
    night_offset: np.ndarray
    day_offset: np.ndarray

    @property
    def months(self) -> int:
        """Number of months."""
        return len(self.month_of_year)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [M], days of each month."""
        return np.diff(self.starts)

    def instants(self, day: np.ndarray, second: np.ndarray) -> np.ndarray:
        """UTC microseconds since 1970 of local times: day [n] and second of the day [n] in [0, 86400)."""
        second = second.astype(np.int64)
        offset = np.where(second < 2 * 3600, self.night_offset[day], self.day_offset[day])
        return ((self.first + day.astype(np.int64)) * 86_400 + second - offset) * 1_000_000

    def dates(self, day: np.ndarray) -> np.ndarray:
        """datetime64[D] of day numbers, also of those before day 0."""
        return EPOCH + (self.first + day.astype(np.int64))


def make_calendar(config: SimulationConfig) -> Calendar:
    """The days of `config`."""
    dates = [config.first_day + timedelta(days=k) for k in range(config.days)]
    ordinal = np.array([(d.year - dates[0].year) * 12 + d.month - dates[0].month for d in dates])
    starts = np.flatnonzero(np.diff(ordinal, prepend=-1))

    def offsets(hour: int) -> np.ndarray:
        local = [datetime.combine(d, time(hour)) for d in dates]
        return np.array([int((at.replace(tzinfo=UTC) - instant_of(at, config.zone)).total_seconds()) for at in local])

    return Calendar(
        days=config.days,
        first=(config.first_day - EPOCH.astype(object)).days,
        month=ordinal,
        starts=np.append(starts, config.days),
        month_of_year=np.array([dates[s].month - 1 for s in starts]),
        weekday=np.array([d.weekday() for d in dates]),
        day_of_month=np.array([d.day for d in dates]),
        since_payday=np.stack([_since([_is_payday(d, p) for d in dates]) for p in PAYDAYS]),
        drift=np.array([d >= config.drift_on for d in dates]),
        night_offset=offsets(0),
        day_offset=offsets(12),
    )


def _is_payday(day: object, payday: int) -> bool:
    return day.day == payday if payday < 31 else (day + timedelta(days=1)).day == 1  # type: ignore[attr-defined, operator]


def _since(marked: list[bool]) -> np.ndarray:
    """Days since the last marked day; before the first one, counted from a mark 15 days before the start."""
    out, last = [], -15
    for k, mark in enumerate(marked):
        last = k if mark else last
        out.append(k - last)
    return np.array(out)
