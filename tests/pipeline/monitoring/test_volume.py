"""A delivery that shrank, grew or points at nothing is seen beside the last good ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_assets.data.tables import Tables
from pipeline.monitoring import volume
from pipeline.resources.lake import Lake
from pipeline.settings import VolumeLimits
from tests.deliveries import synthetic

LIMITS = VolumeLimits()
NO_FAULTS = pl.DataFrame(schema={"table": pl.String, "reason": pl.String, "rows": pl.Int64})
TONIGHT: dict[str, Any] = {
    "measures": {
        "transactions": {"rows": 1000, "days": 100, "distinct customer_id": 300, volume.UNKNOWN: 0.001},
        "products": {"rows": 50},
    },
    "filled": {"transactions": ["channel"], "products": []},
}


def changed(table: str, **values: float) -> dict[str, Any]:
    other = copy.deepcopy(TONIGHT)
    other["measures"][table] |= {name.replace("_", " "): value for name, value in values.items()}
    return other


def words(tonight: dict[str, Any], *before: dict[str, Any], may_lack: bool = False) -> list[tuple[str, bool]]:
    found = volume.compare(tonight, before, LIMITS, may_lack)
    return [(finding.words, finding.stops) for finding in found]


def test_the_first_delivery_and_an_equal_one_are_as_usual() -> None:
    assert words(TONIGHT) == []
    assert words(TONIGHT, TONIGHT, TONIGHT) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (900, []),
        (899, [("transactions: rows fell to 899, before at least 1,000", False)]),
        (500, [("transactions: rows fell to 500, before at least 1,000", False)]),
        (499, [("transactions: rows fell to 499, before at least 1,000", True)]),
        (0, [("transactions: rows fell to 0, before at least 1,000", True)]),
        (2000, []),
        (2001, [("transactions: rows rose to 2,001, before at most 1,000", False)]),
    ],
)
def test_limits_are_shares_of_the_last_good_ones(rows: int, expected: list[tuple[str, bool]]) -> None:
    assert words(changed("transactions", rows=rows), TONIGHT) == expected


def test_the_range_of_the_last_good_ones_counts_and_what_stops_comes_first() -> None:
    low = changed("transactions", rows=400)
    assert words(changed("transactions", rows=380), TONIGHT, low) == []
    found = words(changed("transactions", rows=899, days=10), TONIGHT)
    assert [stops for _, stops in found] == [True, False]


def test_a_share_of_unknown_keys_may_rise_a_little() -> None:
    for share, expected in ((0.003, []), (0.01, [False]), (0.0211, [True])):
        tonight = copy.deepcopy(TONIGHT)
        tonight["measures"]["transactions"][volume.UNKNOWN] = share
        assert [stops for _, stops in words(tonight, TONIGHT)] == expected


def test_a_table_or_a_column_that_is_gone_stops() -> None:
    gone = copy.deepcopy(TONIGHT)
    del gone["measures"]["products"], gone["filled"]["products"]
    assert words(gone, TONIGHT) == [("products: not delivered, in the last good delivery it was", True)]
    assert words(gone, TONIGHT, may_lack=True) == [("products: not delivered, in the last good delivery it was", False)]
    assert words(gone, gone, TONIGHT) == [], "a delivery without it was accepted since"
    empty = copy.deepcopy(TONIGHT)
    empty["filled"]["transactions"] = []
    for mask in (False, True):  # nothing masks what depends on a column
        [(said, stops)] = words(empty, TONIGHT, may_lack=mask)
        assert said.startswith("transactions.channel: no value at all")
        assert stops


def test_a_column_that_points_at_a_lost_table_follows_it() -> None:
    whole, without = copy.deepcopy(TONIGHT), copy.deepcopy(TONIGHT)
    whole["filled"]["transactions"] = ["channel", "product_id"]
    del without["measures"]["products"], without["filled"]["products"]
    assert [stops for _, stops in words(without, whole)] == [True, True]
    assert [stops for _, stops in words(without, whole, may_lack=True)] == [False, False]


def arrived(*before: dict[str, Any], tonight: dict[str, Any], **limits: Any) -> list[tuple[str, bool]]:
    """What is unusual about an arrival after some earlier ones, given in their order."""
    found = volume.compare_arrival(tonight, before[::-1], VolumeLimits(**{"smallest": 10, **limits}))
    return [(finding.words, finding.stops) for finding in found]


def test_an_arrival_is_compared_with_all_before_it_but_the_history() -> None:
    history = changed("transactions", rows=90_000)
    day, quiet = changed("transactions", rows=1000), changed("transactions", rows=600)
    low = changed("transactions", rows=499)
    assert arrived(tonight=low) == []
    assert arrived(history, tonight=low) == [], "nothing but the history to compare with"
    fell = "transactions: rows fell to 499, before at least 1,000"
    assert arrived(history, day, day, tonight=low) == [(fell, False)], "two may be no usual days"
    assert arrived(history, day, day, day, tonight=low) == [(fell, True)]
    assert [stops for _, stops in arrived(history, quiet, *[day] * 13, tonight=low)] == [False], "a quiet day before"
    assert [stops for _, stops in arrived(history, quiet, *[day] * 14, tonight=low)] == [True], "two weeks ago"
    assert arrived(history, day, day, day, tonight=low, arrivals=0) == []


def test_a_table_of_an_arrival_that_is_small_or_comes_at_times_may_be_of_any_size() -> None:
    without = copy.deepcopy(TONIGHT)
    del without["measures"]["products"], without["filled"]["products"]
    gone = [("products: not delivered, in the arrivals before it was", True)]
    assert arrived(*[TONIGHT] * 4, tonight=without) == gone
    assert arrived(TONIGHT, TONIGHT, without, TONIGHT, tonight=without) == [], "it does not come every day"
    assert arrived(*[TONIGHT] * 4, tonight=changed("products", rows=1))[0][1]
    assert arrived(*[TONIGHT] * 4, tonight=changed("products", rows=1), smallest=51) == []


def test_a_column_of_an_arrival_that_always_had_values_may_not_lose_all() -> None:
    empty = copy.deepcopy(TONIGHT)
    empty["filled"]["transactions"] = []
    assert arrived(*[TONIGHT] * 4, tonight=empty) == [
        ("transactions.channel: no value at all, before it always had some", True)
    ]
    assert arrived(TONIGHT, empty, TONIGHT, tonight=empty) == []


def scans(tables: Tables) -> dict[str, pl.LazyFrame]:
    return {name: frame.lazy() for name, frame in tables.frames.items()}


def test_the_volume_of_tables_is_counted_in_local_days() -> None:
    whole = synthetic.tables(20, seed=2)
    faults = pl.DataFrame(
        {
            "table": ["transactions"] * 3,
            "reason": ["transactions.product_id: unknown product", "transactions.amount is missing", "an unknown x"],
            "rows": [3, 50, 2],
        }
    )
    found = volume.measure(scans(whole), whole.dataset.zone, {"transactions": 1000, "products": 7}, faults)
    lines = whole.frames["transactions"]
    own = found["measures"]["transactions"]
    assert own["rows"] == lines.height
    local = lines["at"].dt.convert_time_zone(whole.dataset.zone).dt.date()
    assert own["days"] == local.n_unique()
    assert own["distinct customer_id"] == lines["customer_id"].n_unique()
    assert own[volume.UNKNOWN] == 0.005
    assert found["measures"]["products"][volume.UNKNOWN] == 0.0
    without = {**scans(whole), "transactions": lines.lazy().with_columns(channel=pl.lit(None, pl.String))}
    assert "channel" in found["filled"]["transactions"]
    assert "channel" not in volume.measure(without, "UTC", {}, NO_FAULTS)["filled"]["transactions"]


def test_good_deliveries_are_kept_by_digest_and_the_newest_compared(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for number, digest in enumerate(("a", "b", "c")):
        volume.keep(changed("transactions", rows=number), lake, digest)
    kept = volume.last_good(lake, "c", VolumeLimits(compared=1))
    assert [v["measures"]["transactions"]["rows"] for v in kept] == [1]
    assert len(volume.last_good(lake, "d", LIMITS)) == 3
    assert volume.last_good(lake, "d", VolumeLimits(compared=0)) == []
