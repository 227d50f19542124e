"""Tables and views: a view holds what was known strictly before its instant, whatever came later or in which order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from feature_assets.events.view import View

MakeTables = Callable[..., Tables]


@pytest.fixture(scope="module")
def small(make_tables: MakeTables) -> Tables:
    return make_tables(1, lines=3_000)


def same_view(one: View, other: View) -> None:
    assert one.customers.equals(other.customers)
    assert set(one.frames) == set(other.frames)
    for name, frame in one.frames.items():
        assert frame.equals(other.frames[name], null_equal=True), name
    assert one.lines.equals(other.lines, null_equal=True)
    assert one.baskets.equals(other.baskets, null_equal=True)


def with_another_future(tables: Tables, as_of: date) -> Tables:
    """The same past; after it every amount, product and merchant differs, half of the events are gone."""
    instant = tables.dataset.instant(as_of)
    late = pl.col("at") >= instant
    frames = dict(tables.frames)
    lines = frames["transactions"]
    changed = lines.filter(late & (pl.int_range(pl.len()) % 2 == 0)).with_columns(
        amount=pl.col("amount") * 3 + 1, product_id=pl.lit("p1"), merchant_id=pl.lit("m9"), customer_id=pl.lit("h0")
    )
    frames["transactions"] = pl.concat([lines.filter(~late), changed])
    frames["campaign_events"] = frames["campaign_events"].filter(~late)
    return Tables(tables.dataset, frames)


@settings(max_examples=8, deadline=None)
@given(day=st.integers(1, 364))
def test_the_future_changes_no_view(small: Tables, day: int) -> None:
    as_of = date(2017, 1, 1) + timedelta(days=day)
    same_view(View(small, as_of), View(with_another_future(small, as_of), as_of))


def test_the_order_of_rows_changes_nothing(small: Tables) -> None:
    shuffled = Tables(small.dataset, {n: f.sample(fraction=1, shuffle=True, seed=3) for n, f in small.frames.items()})
    same_view(View(small, date(2017, 8, 1)), View(shuffled, date(2017, 8, 1)))
    assert small.first_purchases.equals(shuffled.first_purchases)


def test_a_view_holds_exactly_what_came_before(small: Tables) -> None:
    as_of = date(2017, 6, 7)
    view = View(small, as_of)
    instant = datetime(2017, 6, 7, 4, tzinfo=UTC)
    assert view.instant == instant
    assert view.lines.height == small.frames["transactions"].filter(pl.col("at") < instant).height
    assert view.customers["customer_id"].is_sorted()
    assert view.customers["joined_on"].max() < as_of
    assert view.frames["campaigns"]["starts_on"].max() < as_of
    assert view.lines["days_ago"].min() == 1
    ids = view.customers["customer_id"].gather(view.lines["row"])
    assert (ids == view.lines["customer_id"]).all()
    local = view.lines["at"].dt.convert_time_zone("America/New_York")
    assert (view.lines["weekday"] == local.dt.weekday() - 1).all()
    assert (view.lines["hour"].floor().cast(pl.Int8) == local.dt.hour()).all()
    assert ((as_of - view.lines["day"]).dt.total_days() == view.lines["days_ago"]).all()


def test_baskets_sum_their_lines(small: Tables) -> None:
    view = View(small, date(2017, 6, 7))
    assert view.baskets["items"].sum() == view.lines.height
    assert view.baskets["amount"].sum() == pytest.approx(view.lines["amount"].sum())
    assert view.baskets.select("row", "at", "basket_id").is_duplicated().sum() == 0
    assert view.baskets.select("row", "at", "basket_id").equals(
        view.baskets.select("row", "at", "basket_id").sort("row", "at", "basket_id")
    )


def test_local_days_across_the_clock_change(small: Tables) -> None:
    zone = ZoneInfo("America/New_York")
    for as_of in (date(2017, 3, 12), date(2017, 3, 13), date(2017, 11, 5), date(2017, 11, 6)):
        assert View(small, as_of).instant.astimezone(zone).replace(tzinfo=None) == datetime.combine(
            as_of, datetime.min.time()
        )


@pytest.mark.parametrize("n", [1, 3])
def test_shards_are_a_partition_of_the_view(small: Tables, n: int) -> None:
    as_of = date(2017, 9, 1)
    whole = View(small, as_of)
    parts = [View(small, as_of, (i, n)) for i in range(n)]
    assert pl.concat(p.customers for p in parts).sort("customer_id").equals(whole.customers)
    columns = [c for c in whole.lines.columns if c != "row"]
    key = ["customer_id", "at", "basket_id", "amount", "product_id", "discount", "quantity", "channel", "merchant_id"]
    lines = pl.concat(p.lines.select(columns) for p in parts).sort(key)
    assert lines.equals(whole.lines.select(columns).sort(key), null_equal=True)
    with pytest.raises(ValueError, match="shard"):
        View(small, as_of, (n, n))


def test_the_shard_of_a_customer_never_changes() -> None:
    ids = pl.Series(["1", "2", "10", "2500", "häuser"])
    assert stable_shard(ids, 1).to_list() == [0] * 5
    assert stable_shard(ids, 7).to_list() == SHARDS_OF_7
    assert stable_shard(ids.reverse(), 7).to_list() == SHARDS_OF_7[::-1]
    counts = stable_shard(pl.Series([str(i) for i in range(4_000)]), 4).value_counts()["count"]
    assert counts.min() > 900
    with pytest.raises(ValueError, match="at least 1"):
        stable_shard(ids, 0)


SHARDS_OF_7 = [2, 1, 1, 3, 2]


def test_saved_tables_come_back_and_replace_older_ones(small: Tables, tmp_path: Path) -> None:
    small.save(tmp_path / "tables")
    smaller = Tables(small.dataset, {n: f for n, f in small.frames.items() if n != "campaign_events"})
    smaller.save(tmp_path / "tables")
    back = Tables.load(tmp_path / "tables")
    assert back.dataset == small.dataset
    assert not back.has("campaign_events")
    for name, frame in smaller.frames.items():
        assert frame.equals(back.frames[name], null_equal=True)
    assert [p.name for p in tmp_path.iterdir()] == ["tables"]
