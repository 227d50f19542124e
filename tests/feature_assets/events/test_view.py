"""View and Window: what was known strictly before t, and what happened in [t, t + days), against plain filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.tables import Tables
from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.events.window import Window
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

MakeTables = Callable[..., Tables]
COLUMNS = (
    "transaction_id",
    "basket_id",
    "at",
    "amount",
    "merchant_id",
    "channel",
    "category_l1",
    "category_l3",
    "brand",
)
TABLES = {
    "transactions": (*COLUMNS, "kind"),
    "sessions": ("at", "channel", "event", "pages"),
    "contacts": ("at", "kind", "topic"),
    "campaign_events": ("at", "campaign_id", "event"),
    "balances": ("account_id", "on", "balance", "kind"),
    "holdings": ("product_kind", "opened_on", "closed_on", "balance"),
}


@pytest.fixture(scope="module")
def small(make_tables: MakeTables) -> Tables:
    return make_tables(1, lines=3_000)


def same_view(one: View, other: View) -> None:
    assert one.customers.equals(other.customers)
    assert one.campaigns.equals(other.campaigns, null_equal=True)
    for table in TABLES:
        if one.has(table):
            first, second = (view.events(table, TABLES[table]).frame(*TABLES[table]) for view in (one, other))
            assert first.equals(second, null_equal=True), table


def with_another_future(tables: Tables, as_of: date) -> Tables:
    """The same past; after it every amount, product and merchant differs, half of the events are gone."""
    late = pl.col("at") >= tables.dataset.instant(as_of)
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


@pytest.mark.parametrize("table", list(TABLES))
@pytest.mark.parametrize("longest", [None, 30])
def test_a_view_holds_exactly_what_came_before(table: str, longest: int | None) -> None:
    tables = synthetic.tables()
    view, columns = View(tables, synthetic.AS_OF), TABLES[table]
    events = view.events(table, columns, longest=longest)
    known = plain_view.known_frames(tables, synthetic.AS_OF)[table]
    if table == "transactions":
        known = plain_view.lines(tables, synthetic.AS_OF)
    since = (
        known["at"].dt.convert_time_zone(synthetic.ZONE).dt.date()
        if "at" in known.columns
        else known["on" if table == "balances" else "as_of"]
    )
    ago = (pl.Series([synthetic.AS_OF]) - since).dt.total_days().cast(pl.Int32)
    expected = known.select("customer_id", *columns).with_columns(ago.alias("days_ago"))
    expected = expected.filter(pl.col("days_ago") <= (longest or 10_000))
    found = events.frame(*columns)
    ids = view.customers["customer_id"].gather(found["row"])
    found = found.with_columns(ids.alias("customer_id"))
    key = ["customer_id", "days_ago", *columns]
    assert found.select(key).sort(key).equals(expected.select(key).sort(key), null_equal=True)
    assert len(found) > 0
    assert found["days_ago"].min() >= 1


def test_what_comes_about_later_is_not_known() -> None:
    """A value that is stated before it happened is null until then."""
    whole, t = synthetic.tables(), synthetic.AS_OF
    closing = whole.frames["holdings"].filter(pl.col("as_of") < t).with_columns(closed_on=pl.lit(t))
    tables = Tables(whole.dataset, whole.frames | {"holdings": closing})
    columns = ("product_kind", "closed_on")
    now, later = (View(tables, day).events("holdings", columns) for day in (t, t + timedelta(days=1)))
    assert len(now) == len(later) > 0
    assert np.isnan(now.values("closed_on")).all()
    assert now.frame("closed_on")["closed_on"].null_count() == len(now)
    assert not np.isnan(later.values("closed_on")).any()
    assert View(tables, t).holdings.open.all()
    campaigns = View(whole, t).campaigns
    ended = whole.frames["campaigns"].filter(pl.col("ends_on") < t)
    assert campaigns["ends_on"].drop_nulls().to_list() == ended["ends_on"].to_list()
    assert (campaigns["starts_on"] < t).all()


def test_columns_that_were_not_asked_for_are_refused() -> None:
    sessions = View(synthetic.tables(), synthetic.AS_OF).events("sessions", ("channel",))
    with pytest.raises(KeyError, match="'event' of sessions was not asked for"):
        sessions.codes("event")


@pytest.mark.parametrize("n", [1, 3])
def test_shards_are_a_partition_of_the_view(small: Tables, n: int) -> None:
    as_of = date(2017, 9, 1)
    whole = View(small, as_of)
    parts = [View(small, as_of, (i, n)) for i in range(n)]
    assert pl.concat(p.customers for p in parts).sort("customer_id").equals(whole.customers)

    def lines(view: View) -> pl.DataFrame:
        return view.purchases.frame(*COLUMNS).drop("row")

    key = ["transaction_id"]
    assert pl.concat(map(lines, parts)).sort(key).equals(lines(whole).sort(key), null_equal=True)
    with pytest.raises(ValueError, match="shard"):
        View(small, as_of, (n, n))


def test_baskets_begin_with_their_first_line() -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    found = View(tables, t).baskets(60).frame("basket_id", "at", "merchant_id")
    expected = plain_view.baskets(tables, t).filter(pl.col("days_ago") <= 60)
    key = ["row", "at", "basket_id"]
    columns = ["row", "basket_id", "at", "merchant_id"]
    assert found.select(columns).sort(key).equals(expected.select(columns).sort(key))


def test_the_flows_of_money_are_what_buys_nothing() -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    view, lines = View(tables, t), plain_view.lines(tables, t)
    expected = lines.filter(pl.col("kind") != "purchase")
    assert view.flows.frame("amount", "kind").drop("days_ago").equals(expected.select("row", "amount", "kind"))
    assert len(view.money_flows) == expected.filter(pl.col("kind") != "refund").height
    assert len(view.purchases) + len(view.flows) == lines.height


def test_exposures_are_the_campaigns_with_an_impression() -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    view = View(tables, t)
    events = plain_view.known_frames(tables, t)["campaign_events"]
    kinds = dict(tables.frames["campaigns"].select("campaign_id", "kind").iter_rows())
    expected = []
    for (customer, campaign), group in events.sort("customer_id", "campaign_id").group_by(
        "customer_id", "campaign_id", maintain_order=True
    ):
        shown = group.filter(event="impression")["at"]
        if len(shown):
            first = shown.dt.convert_time_zone(synthetic.ZONE).dt.date().min()
            did = set(group["event"].to_list())
            expected.append((customer, (t - first).days, kinds[campaign], "click" in did, "conversion" in did))
    e = view.exposures
    ids = view.customers["customer_id"].gather(e.row).to_list()
    found = zip(ids, e.days_ago.tolist(), e.kind.texts(), e.clicked.tolist(), e.converted.tolist(), strict=True)
    assert list(found) == expected


# Events


def test_window_operations_are_those_of_a_group_by() -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    events, lines = View(tables, t).purchases, plain_view.purchases(tables, t)
    n = events.customers

    def by_customer(expression: pl.Expr, rows: pl.DataFrame) -> list[float | None]:
        every = pl.DataFrame({"row": np.arange(n, dtype=np.uint32)})
        found = rows.group_by("row").agg(expression.alias("x"))
        return every.join(found, on="row", how="left", maintain_order="left")["x"].to_list()

    recent = lines.filter(pl.col("days_ago") <= 30)
    assert events.count(30).tolist() == [x or 0 for x in by_customer(pl.len(), recent)]
    np.testing.assert_allclose(
        events.sum_of("amount", 30), [x or 0 for x in by_customer(pl.col("amount").sum(), recent)]
    )
    for measured, expression in (
        (events.days_since(), pl.col("days_ago").min()),
        (events.days_since_first(), pl.col("days_ago").max()),
        (events.maximum(events.values("amount")), pl.col("amount").max()),
    ):
        expected = [np.nan if x is None else x for x in by_customer(expression, lines)]
        np.testing.assert_allclose(measured, expected)
    assert events.days_of().count().tolist() == [x or 0 for x in by_customer(pl.col("day").n_unique(), lines)]
    codes, names = events.codes("category_l1"), events.names("category_l1")
    table = events.where(codes >= 0).table(codes[codes >= 0], len(names))
    assert (table > 0).sum(axis=1).tolist() == [
        x or 0 for x in by_customer(pl.col("category_l1").drop_nulls().n_unique(), lines)
    ]
    merchants = events.windows((30, 60)).distinct(
        events.previous_days_ago("merchant_id"), events.codes("merchant_id") >= 0
    )
    assert merchants[:, 0].tolist() == [x or 0 for x in by_customer(pl.col("merchant_id").n_unique(), recent)]
    assert np.array_equal(events.start, np.searchsorted(events.row, np.arange(n + 1)))


def test_runs_are_neighbours_that_are_equal() -> None:
    events: Events = View(synthetic.tables(), synthetic.AS_OF).purchases
    runs = events.runs(events.values("at"))
    of_line = runs.run_of_line()
    assert len(of_line) == len(events)
    assert np.array_equal(runs.row[of_line], events.row)
    assert np.array_equal(runs.values("at")[of_line], events.values("at"))
    np.testing.assert_allclose(runs.sums(events.values("amount")).sum(), events.values("amount").sum())
    assert runs.line[-1] == len(events)


# Window


@pytest.mark.parametrize("days", [1, 28])
@pytest.mark.parametrize("table", list(TABLES))
def test_a_window_holds_exactly_its_days(table: str, days: int) -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    found = Window(tables, t, days).events(table, TABLES[table])
    frame = plain_view.every_line(tables) if table == "transactions" else tables.frames[table]
    since = (
        frame["at"].dt.convert_time_zone(synthetic.ZONE).dt.date()
        if "at" in frame.columns
        else frame["on" if table == "balances" else "as_of"]
    )
    expected = frame.filter((since >= t) & (since < t + timedelta(days=days)))
    assert found.select(TABLES[table]).equals(expected.select(TABLES[table]), null_equal=True)
    assert (found["day"] >= t).all()
    assert (found["day"] < t + timedelta(days=days)).all()


def test_view_and_window_share_no_event() -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    past = set(View(tables, t).events("transactions", ("transaction_id",)).frame("transaction_id")["transaction_id"])
    future = set(Window(tables, t, 1_000).events("transactions", ("transaction_id",))["transaction_id"])
    assert not past & future
    assert past | future == set(tables.frames["transactions"]["transaction_id"])


def test_net_spend_is_purchases_less_refunds() -> None:
    tables, t = synthetic.tables(), synthetic.AS_OF
    window = Window(tables, t, 28)
    lines = plain_view.every_line(tables).filter(
        pl.col("kind").is_in(["purchase", "refund"]) & pl.col("day").is_between(t, t + timedelta(days=27))
    )
    ids = tables.frames["customers"]["customer_id"].to_list()
    sums = dict(lines.group_by("customer_id").agg(pl.col("amount").sum()).iter_rows())
    np.testing.assert_allclose(window.net_spend(), [sums.get(name, 0.0) for name in ids], atol=1e-9)
    spend = window.spend(("amount", "category_l1"))
    assert window.ids(spend["customer"]).to_list() == lines["customer_id"].to_list()
    assert spend.select("day", "amount", "category_l1").equals(lines.select("day", "amount", "category_l1"))
