"""Tables: a stable order, a stable shard, arrays that say the same as the frames, and what is written comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_assets.data.contract import CONTRACT
from feature_assets.data.known import DIMENSIONS, KNOWN
from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

MakeTables = Callable[..., Tables]


@pytest.fixture(scope="module")
def small(make_tables: MakeTables) -> Tables:
    return make_tables(1, lines=3_000)


def test_every_contract_table_declares_when_it_is_known() -> None:
    assert set(KNOWN) == set(CONTRACT)
    for table, known in KNOWN.items():
        columns = {column.name for column in CONTRACT[table].columns}
        assert {known.row, *known.columns, *known.columns.values()} - {None} <= columns
        assert (known.row is None) <= (table in DIMENSIONS)


def test_the_order_of_rows_changes_nothing(small: Tables) -> None:
    shuffled = Tables(small.dataset, {n: f.sample(fraction=1, shuffle=True, seed=3) for n, f in small.frames.items()})
    for name, frame in small.frames.items():
        assert frame.equals(shuffled.frames[name], null_equal=True), name


@pytest.mark.parametrize("name", ["transactions", "sessions", "contacts", "balances", "holdings", "campaign_events"])
def test_encoded_rows_are_those_of_the_frame(name: str) -> None:
    tables = synthetic.tables()
    rows, frame = tables.encoding(name), tables.frames[name]
    again = rows.frame(np.arange(len(rows)), frame.columns)
    assert again.select(frame.columns).equals(frame, null_equal=True)
    ids = tables.frames["customers"]["customer_id"].gather(again["customer"])
    assert (ids == frame["customer_id"]).all()
    assert (np.diff(rows.customer) >= 0).all()
    if KNOWN[name].is_instant:
        assert (again["day"] == frame["at"].dt.convert_time_zone(synthetic.ZONE).dt.date()).all()
    else:
        assert (again["day"] == frame[KNOWN[name].row]).all()
    assert tables.encoding(name) is rows


def test_statements_of_one_account_follow_each_other() -> None:
    rows = synthetic.tables().encoding("balances")
    order = np.stack([rows.customer, rows.codes("account_id").numbers, rows.day], axis=1)
    assert np.array_equal(order, order[np.lexsort(order.T[::-1])])


def test_things_are_not_encoded() -> None:
    with pytest.raises(ValueError, match="merchants is no table of events"):
        synthetic.tables().encoding("merchants")


def test_local_weekday_and_hour_are_those_of_the_instants() -> None:
    tables = synthetic.tables()
    local = tables.frames["transactions"]["at"].dt.convert_time_zone(synthetic.ZONE)
    rows = tables.transactions
    np.testing.assert_array_equal(rows.values("weekday"), local.dt.weekday().to_numpy() - 1)
    np.testing.assert_array_equal(np.floor(rows.values("hour")), local.dt.hour().to_numpy())
    minutes = local.dt.hour().cast(pl.Float64) + local.dt.minute() / 60
    np.testing.assert_allclose(rows.values("minute"), minutes.to_numpy())


def test_rows_of_strangers_are_left_out(small: Tables) -> None:
    few = small.frames["customers"].head(7)
    tables = Tables(small.dataset, small.frames | {"customers": few})
    known = small.frames["transactions"].filter(pl.col("customer_id").is_in(few["customer_id"].implode()))
    columns = ("transaction_id", "amount", "product_id")
    assert tables.transactions.frame(np.arange(known.height), columns).select(columns).equals(known.select(columns))
    bought = plain_view.every_line(tables).join(few, on="customer_id", how="semi", maintain_order="left")
    assert tables.transactions.codes("category_l2").texts().to_list() == bought["category_l2"].to_list()


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


def test_saved_tables_come_back(small: Tables, tmp_path: Path) -> None:
    fewer = Tables(small.dataset, {n: f for n, f in small.frames.items() if n != "campaign_events"})
    fewer.save(tmp_path / "tables")
    back = Tables.load(tmp_path / "tables")
    assert back.dataset == small.dataset
    assert not back.has("campaign_events")
    for name, frame in fewer.frames.items():
        assert frame.equals(back.frames[name], null_equal=True)
    with pytest.raises(FileNotFoundError):
        Tables.load(tmp_path)
