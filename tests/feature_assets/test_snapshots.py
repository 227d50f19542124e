"""Snapshot plans: no label reaches past its side of the split, and too early a date says which one would do."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import windows
from feature_assets.snapshots import NotEnoughCustomers, NotEnoughHistory, plan, require_customers
from feature_assets.sources import load_tables
from tests.conftest import DATA_ROOT
from tests.deliveries import shop, synthetic
from tests.deliveries.makers import altered, write

START = date(2017, 1, 1)
WINDOWS = {"churn": 28, "ctr": 56, "ltv": 84}


def test_the_plan_of_the_embedded_data(dataset: DatasetConfig) -> None:
    made = plan(dataset.covers_until, dataset.covers_from, windows(dataset))
    assert made.holdout_start == date(2017, 10, 2)
    assert (len(made.train), made.train[0], made.train[-1]) == (28, date(2017, 2, 27), date(2017, 9, 4))
    assert (len(made.holdout), made.holdout[0], made.holdout[-1]) == (10, date(2017, 10, 2), date(2017, 12, 4))
    assert made.gap == (date(2017, 9, 11), date(2017, 9, 18), date(2017, 9, 25))
    assert made.usable("ltv", date(2017, 7, 10))
    assert not made.usable("ltv", date(2017, 7, 17))
    assert [t for t in made.holdout if made.usable("ltv", t)] == [date(2017, 10, 2), date(2017, 10, 9)]


task_windows = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 100), min_size=1)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 700), task_windows, st.sampled_from([1, 5, 7]), st.integers(0, 60), st.integers(1, 4))
def test_labels_are_purged_and_dates_share_their_weekday(
    days: int, wanted: dict[str, int], step: int, history: int, weeks: int
) -> None:
    as_of = START + timedelta(days=days)
    try:
        made = plan(as_of, START, wanted, step=step, min_history=history, holdout_weeks=weeks)
    except NotEnoughHistory as error:
        earliest = date.fromisoformat(str(error).rstrip(".")[-10:])
        assert earliest > as_of
        plan(earliest, START, wanted, step=step, min_history=history, holdout_weeks=weeks)
        with pytest.raises(NotEnoughHistory):
            plan(earliest - timedelta(days=1), START, wanted, step=step, min_history=history, holdout_weeks=weeks)
        return
    s = made.holdout_start
    assert list(made.dates) == sorted(set(made.dates))
    for t in made.dates:
        assert (as_of - t).days % step == 0
        assert t >= START + timedelta(days=history)
    for task, window in wanted.items():
        trained = [t for t in made.train if made.usable(task, t)]
        held_out = [t for t in made.holdout if made.usable(task, t)]
        assert trained
        assert len(held_out) >= weeks
        assert all(t + timedelta(days=window) <= s for t in trained)
        assert all(s <= t and t + timedelta(days=window) <= as_of for t in held_out)
    assert all(any(made.usable(task, t) for task in wanted) for t in made.dates)
    dates = made.refit_dates
    assert list(dates) == sorted(set(dates))
    assert set(dates) == set(made.dates) | set(made.gap)
    assert all(b - a == timedelta(days=step) for a, b in itertools.pairwise(dates)), "the grid has no hole"
    assert dates[-1] + timedelta(days=step + min(wanted.values())) > as_of, "no matured date is left out"
    for t, (task, window) in itertools.product(dates, wanted.items()):
        assert made.matured(task, t) is (t + timedelta(days=window) <= as_of)
        assert made.matured(task, t) or t not in made.dates or not made.usable(task, t)
    assert all(any(made.matured(task, t) for task in wanted) for t in dates)
    assert not any(made.usable(task, t) for task in wanted for t in made.gap)


def test_roles_split_the_holdout_by_customer() -> None:
    made = plan(date(2018, 1, 1), START, WINDOWS)
    ids = pl.Series([str(i) for i in range(2_000)])
    assert made.role(ids, made.train[0]).unique().to_list() == ["train"]
    roles = [made.role(ids, t) for t in made.holdout]
    assert all(role.equals(roles[0]) for role in roles)  # a customer has one role on all dates
    assert 850 < int((roles[0] == "test").sum()) < 1_150
    assert set(roles[0]) == {"validation", "test"}
    assert made.role(ids.reverse(), made.holdout[0]).equals(roles[0].reverse())
    with pytest.raises(ValueError, match="not a snapshot"):
        made.role(ids, date(2017, 10, 3))


def test_too_early_a_date_names_the_earliest() -> None:
    with pytest.raises(NotEnoughHistory, match=r"2017-03-01 is too early .* 2017-08-20\.$"):
        plan(date(2017, 3, 1), START, WINDOWS)
    assert plan(date(2017, 11, 1), START, WINDOWS).train[-1] <= date(2017, 8, 2)


def test_the_data_begin_with_the_first_transaction(tmp_path: Path) -> None:
    """A description may promise earlier days than were delivered: three weeks of data are three weeks."""
    own = load_dataset(str(shop.describe(tmp_path)), DATA_ROOT)
    late = own.covers_until - timedelta(days=21)
    recent = altered(shop.tables(), "transactions", lambda lines: lines.filter(pl.col("at").dt.date() >= late))
    folder = write(recent, tmp_path / "recent")
    tables = load_tables(own, folder)
    begin = tables.dataset.covers_from
    assert late <= begin < own.covers_until
    with pytest.raises(NotEnoughHistory, match=rf"data begin on {begin}.* earliest possible as-of date is 20\d\d"):
        plan(own.covers_until, begin, windows(tables.dataset))
    assert View(tables, begin - timedelta(days=30)).history == 1, "there are no fewer days than none"
    whole = load_tables(own).dataset.covers_from
    assert plan(own.covers_until, whole, windows(tables.dataset)).train


@pytest.mark.parametrize(("customers", "enough"), [(5, False), (20, False), (21, True)])
def test_too_few_customers_say_what_to_do(customers: int, enough: bool) -> None:
    """Of the synthetic customers the first one has bought nothing."""
    made = synthetic.tables()
    ids = made.frames["customers"]["customer_id"][:customers].to_list()
    lines = made.frames["transactions"].filter(pl.col("customer_id").is_in(ids))
    tables = Tables(made.dataset, {**made.frames, "transactions": lines})
    planned = plan(synthetic.AS_OF, synthetic.FIRST, {"churn": 14}, min_history=28)
    bought = tables.frames["transactions"].filter(pl.col("kind") == "purchase")["customer_id"].n_unique()
    if enough:
        require_customers(planned, tables)
    else:
        with pytest.raises(NotEnoughCustomers, match=rf"^{bought} customers have .* needs 20\. Deliver the data of"):
            require_customers(planned, tables)
