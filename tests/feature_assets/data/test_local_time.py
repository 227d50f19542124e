"""Local days and times of day against the standard library's zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from feature_assets.data.local_time import local_clock

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Seoul",
)


def _expected(at: datetime, zone: str) -> tuple[int, int]:
    local = at.astimezone(ZoneInfo(zone))
    return (local.date() - date(1970, 1, 1)).days, local.hour * 3600 + local.minute * 60 + local.second


@pytest.mark.parametrize("zone", ZONES)
def test_each_second_round_every_change_of_the_clock(zone: str) -> None:
    rng = np.random.default_rng(0)
    begin, hours = datetime(2009, 1, 1, tzinfo=UTC), 8 * 366 * 24
    grid = [begin + timedelta(hours=h) for h in range(0, hours, 6)]
    changes = [
        a
        for a in grid
        if a.astimezone(ZoneInfo(zone)).utcoffset() != (a + timedelta(hours=6)).astimezone(ZoneInfo(zone)).utcoffset()
    ]
    near = [a + timedelta(minutes=15 * k, microseconds=d) for a in changes for k in range(25) for d in (-1, 0, 1)]
    drawn = [begin + timedelta(seconds=int(s), microseconds=7) for s in rng.integers(-(10**9), 10**9, 300)]
    instants = [*near, *drawn]
    day, second = local_clock(pl.Series(instants, dtype=pl.Datetime("us", "UTC")), zone)
    assert list(zip(day.tolist(), second.tolist(), strict=True)) == [_expected(at, zone) for at in instants]


def test_no_instant_has_no_day() -> None:
    day, second = local_clock(pl.Series([], dtype=pl.Datetime("us", "UTC")), "Europe/Berlin")
    assert day.shape == second.shape == (0,)
