"""Local days and times of day against the standard library's zones; days whose midnight is missing or double."""

from __future__ import annotations

import ast
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

import feature_assets
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.local_time import day_start, day_starts, instant_of, local_clock, local_day
from feature_assets.sources import ingest, read_delivery
from tests.deliveries import completejourney
from tests.deliveries.makers import altered, columns, write

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Seoul",
    "America/St_Johns",  # changed at one minute past midnight
    "America/Santiago",  # removes a midnight in spring
    "America/Havana",  # has a midnight twice in autumn
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
    near = [a + timedelta(minutes=m, microseconds=d) for a in changes for m in range(0, 376, 1) for d in (-1, 0)]
    drawn = [begin + timedelta(seconds=int(s), microseconds=7) for s in rng.integers(-(10**9), 10**9, 300)]
    instants = [*near, *drawn]
    day, second = local_clock(pl.Series(instants, dtype=pl.Datetime("us", "UTC")), zone)
    assert list(zip(day.tolist(), second.tolist(), strict=True)) == [_expected(at, zone) for at in instants]


def test_no_instant_has_no_day() -> None:
    day, second = local_clock(pl.Series([], dtype=pl.Datetime("us", "UTC")), "Europe/Berlin")
    assert day.shape == second.shape == (0,)


def _instant(*of: int) -> datetime:
    return datetime(*of, tzinfo=UTC)


MIDNIGHTS = [
    ("America/Santiago", date(2024, 9, 8), _instant(2024, 9, 8, 4)),  # 00:00 becomes 01:00: the instant of the change
    ("America/Santiago", date(2024, 9, 9), _instant(2024, 9, 9, 3)),
    ("America/Havana", date(2023, 11, 5), _instant(2023, 11, 5, 4)),  # 01:00 becomes 00:00: the first of both
    ("Africa/Cairo", date(2024, 4, 26), _instant(2024, 4, 25, 22)),
    ("Asia/Beirut", date(2024, 3, 31), _instant(2024, 3, 30, 22)),
    ("America/St_Johns", date(2009, 11, 1), _instant(2009, 11, 1, 2, 30)),
    ("America/Toronto", date(1919, 3, 31), _instant(1919, 3, 31, 4, 30)),  # 23:30 becomes 00:30
    ("Pacific/Apia", date(2011, 12, 30), _instant(2011, 12, 30, 10)),  # a day that the islands left out
    ("Pacific/Apia", date(2011, 12, 31), _instant(2011, 12, 30, 10)),
    ("America/New_York", date(2017, 3, 12), _instant(2017, 3, 12, 5)),
    ("Asia/Tokyo", date.min, _instant(1, 1, 1)),
    ("America/New_York", date.max, _instant(9999, 12, 31, 5)),
]


@pytest.mark.parametrize(("zone", "day", "start"), MIDNIGHTS)
def test_a_day_begins_with_its_first_instant(zone: str, day: date, start: datetime) -> None:
    assert day_start(day, zone) == start
    if date.min < day < date.max:
        own = ZoneInfo(zone)
        assert start.astimezone(own).date() >= day
        assert (start - timedelta(microseconds=1)).astimezone(own).date() < day
    given = pl.Series([day, None, day])
    assert day_starts(given, zone).to_list() == [start, None, start]


def test_hours_that_are_removed_or_doubled_follow_one_rule() -> None:
    """A local time is the first instant at which the clocks have reached it."""
    zone = "Europe/Berlin"
    assert instant_of(datetime(2024, 3, 31, 2, 30), zone) == _instant(2024, 3, 31, 1)  # 02:00 becomes 03:00
    assert instant_of(datetime(2024, 10, 27, 2, 30), zone) == _instant(2024, 10, 27, 0, 30)  # 03:00 becomes 02:00
    assert instant_of(datetime(2024, 7, 1, 12), zone) == _instant(2024, 7, 1, 10)


def test_days_of_a_frame_are_those_of_the_clock() -> None:
    at = pl.Series("at", [_instant(2009, 11, 1, 2, m) for m in range(25, 40)], dtype=pl.Datetime("us", "UTC"))
    day, _ = local_clock(at, "America/St_Johns")
    shown = at.to_frame().select(local_day(pl.col("at"), "America/St_Johns"))["at"]
    assert shown.to_physical().to_list() == day.tolist()
    assert shown.n_unique() == 2


@pytest.mark.parametrize(
    ("zone", "day"), [("America/Santiago", date(2017, 8, 13)), ("America/Havana", date(2017, 11, 5))]
)
def test_a_campaign_may_start_on_a_midnight_that_is_removed_or_doubled(
    zone: str, day: date, tmp_path: Path, dataset: DatasetConfig
) -> None:
    days = columns(start_date=pl.lit(day).cast(pl.Datetime), end_date=pl.lit(date(2017, 12, 1)).cast(pl.Datetime))
    redeemed = columns(redemption_date=pl.lit(day).cast(pl.Datetime))
    frames = altered(completejourney.small(), "campaign_descriptions", days)
    folder = write(altered(frames, "coupon_redemptions", redeemed), tmp_path)
    there = dataset.model_copy(update={"zone": zone})
    events = ingest(read_delivery(there, folder)).tables.frames["campaign_events"].filter(pl.col("event") != "click")
    assert events["event"].n_unique() == 2
    assert events["at"].unique().to_list() == [day_start(day, zone)]


def test_local_time_is_converted_in_one_place() -> None:
    """No other module knows a zone's rules: it would need a policy for missing hours of its own."""
    package = Path(feature_assets.__file__).parent
    others = [f for root in (package, package.parent / "pipeline") for f in root.rglob("*.py")]
    found = []
    for file in others:
        if file.name == "local_time.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "zoneinfo":
                found += [f"{file.name}: {n.name}" for n in node.names if n.name != "available_timezones"]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                given = ast.unparse(node.args[0]) if node.args else ""
                named = node.func.attr in ("convert_time_zone", "replace_time_zone", "astimezone")
                if named and given not in ("'UTC'", "UTC", "None"):
                    found.append(f"{file.name}:{node.lineno}: {node.func.attr}({given})")
    assert found == []
