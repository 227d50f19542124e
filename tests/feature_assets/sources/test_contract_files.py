"""The reader of contract-shaped deliveries: every kind of bad row has its reason and costs no good one; what is
optional may be absent; parts of a table are one table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.sources import ingest, load_tables, read_delivery
from tests.deliveries import bank as deliveries
from tests.deliveries.makers import (
    Frames,
    altered,
    columns,
    deliver,
    emptied,
    once_more,
    same,
    shuffled,
    without,
    write,
)

LATE = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bank() -> DatasetConfig:
    return deliveries.dataset()


@pytest.fixture(scope="module")
def sound() -> Frames:
    return deliveries.sound()


def test_a_sound_delivery_becomes_the_contract_tables(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    result = deliver(sound, tmp_path, bank)
    assert {name: v.quarantine.height for name, v in result.validated.items()} == dict.fromkeys(CONTRACT, 0)
    assert result.notes == ()
    assert result.tables.dataset == bank
    assert same(result.tables, Tables(bank, {n: f.select(result.tables.frames[n].columns) for n, f in sound.items()}))
    for name, table in CONTRACT.items():
        assert {c: result.tables.frames[name].schema[c] for c in table.types} == table.types
    assert {"occupation", "device", "referrer"} <= set(result.tables.frames["customers"].columns)


def test_the_channels_are_those_of_the_data_set(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    other = bank.model_copy(update={"channels": ("pos", "fax", "pigeon")})
    (count,) = deliver(sound, tmp_path, other).validated["transactions"].counts
    assert count.reason == "transactions: channel of a purchase is none of pos, fax, pigeon"
    wrong = pl.col("channel").is_in(["online", "app"]) & pl.col("kind").is_in(["purchase", "refund"])
    assert (count.action, count.rows) == ("kept without channel", sound["transactions"].filter(wrong).height)


def test_parts_of_a_table_are_one_table(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    one, three = deliver(sound, tmp_path / "one", bank, parts=1), deliver(sound, tmp_path / "three", bank, parts=3)
    assert same(one.tables, three.tables)
    assert "transactions/part-00002.parquet" in read_delivery(bank, tmp_path / "three").files
    flat = write(sound, tmp_path / "flat")
    assert same(load_tables(bank, flat), one.tables)
    assert set(read_delivery(bank, flat).files) == set(CONTRACT)


def test_nothing_beside_the_tables_is_opened(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    plain = deliver(sound, tmp_path / "plain", bank)
    folder = write(sound, tmp_path / "more", parts=1)
    truth = folder / "oracle" / "as_of=2019-05-01"
    truth.mkdir(parents=True)
    (truth / "part-00000.parquet").write_bytes(b"not a file that may be read")
    delivery = read_delivery(bank, folder)
    assert not any("oracle" in str(path) for path in delivery.files.values())
    assert same(ingest(delivery).tables, plain.tables)


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    # table, what differs in one more row, reason, action
    ("customers", {"customer_id": None}, "customers.customer_id is missing", "dropped"),
    ("customers", {"customer_id": "n1", "joined_on": None}, "customers.joined_on is missing", "dropped"),
    ("customers", {"customer_id": "n1", "joined_on": date(2029, 1, 1)}, "joined_on is in the future", "dropped"),
    ("customers", {"customer_id": "n1", "birth_year": 1492}, "birth_year is below 1900", "kept without birth_year"),
    ("customers", {"customer_id": "n1", "segment": "ghost"}, "segment is none of customer", "kept without segment"),
    ("transactions", {"transaction_id": None}, "transactions.transaction_id is missing", "dropped"),
    ("transactions", {"transaction_id": "n1", "customer_id": None}, "transactions.customer_id is missing", "dropped"),
    ("transactions", {"transaction_id": "n1", "customer_id": "x"}, "customer_id: unknown customer", "dropped"),
    ("transactions", {"transaction_id": "n1", "at": None}, "transactions.at is missing", "dropped"),
    ("transactions", {"transaction_id": "n1", "at": LATE}, "transactions.at is in the future", "dropped"),
    ("transactions", {"transaction_id": "n1", "at": LATE.replace(year=2018)}, "before the first day", "dropped"),
    ("transactions", {"transaction_id": "n1", "amount": -3.0}, "amount is below 0, or above 0 in a refund", "dropped"),
    ("transactions", {"transaction_id": "n1", "kind": "refund", "amount": 3.0}, "amount is below 0, or", "dropped"),
    ("transactions", {"transaction_id": "n1", "amount": None}, "transactions.amount is missing", "dropped"),
    ("transactions", {"transaction_id": "n1", "amount": float("nan")}, "amount is not a number (NaN)", "dropped"),
    ("transactions", {"transaction_id": "n1", "amount": float("inf")}, "amount is infinite", "dropped"),
    ("transactions", {"transaction_id": "n1", "amount": 1e12}, "amount is above 100000000", "dropped"),
    ("transactions", {"transaction_id": "n1", "discount": -1.0}, "discount is below 0", "dropped"),
    ("transactions", {"transaction_id": "n1", "kind": "gift"}, "kind is none of purchase", "dropped"),
    ("transactions", {"transaction_id": "n1", "merchant_id": None}, "merchant_id is missing in a purchase", "dropped"),
    ("transactions", {"transaction_id": "n1", "channel": "fax"}, "none of pos, online, app", "kept without channel"),
    ("transactions", {"transaction_id": "n1", "quantity": -2}, "quantity is below 0", "kept without quantity"),
    ("transactions", {"transaction_id": "n1", "kind": "salary"}, "neither purchase nor", "kept without merchant_id"),
    ("transactions", {"transaction_id": "n1", "product_id": "x"}, "unknown product", "kept without product_id"),
    ("transactions", {"transaction_id": "n1", "merchant_id": "x"}, "unknown merchant", "kept without category"),
    ("transactions", {}, "transactions: exact copy of another row", "collapsed"),
    ("merchants", {"merchant_id": None}, "merchants.merchant_id is missing", "dropped"),
    ("merchants", {"merchant_id": "n1", "category_l1": None}, "merchants.category_l1 is missing", "dropped"),
    ("products", {"product_id": "n1", "category_l1": None}, "products.category_l1 is missing", "dropped"),
    ("campaigns", {"campaign_id": "n1", "ends_on": date(2018, 1, 1)}, "ends_on is before starts_on", "dropped"),
    ("campaigns", {"campaign_id": "n1", "kind": None}, "campaigns.kind is missing", "dropped"),
    ("campaign_events", {"campaign_id": "x"}, "campaign_events.campaign_id: unknown campaign", "dropped"),
    ("campaign_events", {"customer_id": "x"}, "campaign_events.customer_id: unknown customer", "dropped"),
    ("campaign_events", {"event": "seen"}, "event is none of targeted", "dropped"),
    ("sessions", {"customer_id": "x"}, "sessions.customer_id: unknown customer", "dropped"),
    ("sessions", {"at": LATE}, "sessions.at is in the future", "dropped"),
    ("sessions", {"event": "dance"}, "event is none of visit", "dropped"),
    ("sessions", {"channel": None}, "sessions.channel is missing", "dropped"),
    ("sessions", {"seconds": -1.0}, "seconds is below 0", "kept without seconds"),
    ("sessions", {"pages": -1}, "pages is below 0", "kept without pages"),
    ("sessions", {"campaign_id": "x"}, "sessions.campaign_id: unknown campaign", "kept without campaign_id"),
    ("sessions", {}, "sessions: exact copy of another row", "collapsed"),
    ("holdings", {"product_kind": "yacht"}, "product_kind is none of savings", "dropped"),
    ("holdings", {"as_of": date(2018, 2, 2)}, "as_of is before opened_on or closed_on", "dropped"),
    ("holdings", {"as_of": date(2029, 2, 2)}, "holdings.as_of is in the future", "dropped"),
    ("holdings", {"closed_on": date(2018, 2, 2)}, "closed_on is before opened_on", "dropped"),
    ("holdings", {"opened_on": None}, "holdings.opened_on is missing", "dropped"),
    ("holdings", {"customer_id": "x"}, "holdings.customer_id: unknown customer", "dropped"),
    ("balances", {"account_id": "n1", "kind": "sock"}, "kind is none of current", "dropped"),
    ("balances", {"account_id": "n1", "limit": -5.0}, "balances.limit is below 0", "dropped"),
    ("balances", {"account_id": "n1", "balance": None}, "balances.balance is missing", "dropped"),
    ("balances", {"on": date(2029, 1, 1)}, "balances.on is in the future", "dropped"),
    ("contacts", {"kind": "smoke"}, "kind is none of consultation", "dropped"),
    ("contacts", {"customer_id": "x"}, "contacts.customer_id: unknown customer", "dropped"),
    ("contacts", {}, "contacts: exact copy of another row", "collapsed"),
]


@pytest.mark.parametrize(("table", "values", "reason", "action"), FAULTS)
def test_a_bad_row_has_one_reason_and_costs_no_good_row(
    bank: DatasetConfig, sound: Frames, tmp_path: Path, table: str, values: dict[str, Any], reason: str, action: str
) -> None:
    needed = {"customers", "transactions", table, *(reference.table for reference in CONTRACT[table].references)}
    frames = {name: frame for name, frame in sound.items() if name in needed}
    if table == "transactions":  # the first row is a purchase
        frames[table] = frames[table].sort(pl.col("kind") != "purchase", maintain_order=True)
    frames = altered(frames, table, once_more(**values))
    result = deliver(frames, tmp_path, bank)
    counts = {name: v.counts for name, v in result.validated.items() if v.counts}
    assert list(counts) == [table]
    (count,) = counts[table]
    assert reason in count.reason
    assert (count.action, count.rows) == (action, 1)
    record = result.validated[table].quarantine.row(0, named=True)
    assert record["table"] == table
    assert record["key"]
    kept = result.tables.frames[table].height - (frames[table].height - 1)
    assert kept == (1 if action.startswith("kept") else 0)
    good = result.tables.frames[table]
    plain = Tables(bank, {table: frames[table].head(-1).select(good.columns)}).frames[table]
    assert plain.join(good, on=good.columns, how="anti", nulls_equal=True).is_empty()
    if action.startswith("kept without") and (column := action.split()[-1]) in good.columns:
        assert good.join(plain, on=good.columns, how="anti", nulls_equal=True)[column].to_list() == [None]


CONFLICTS: list[tuple[str, dict[str, Any]]] = [
    ("customers", {"gender": "x"}),
    ("transactions", {"discount": 99.0}),
    ("merchants", {"region_l1": "elsewhere"}),
    ("products", {"brand": "another"}),
    ("campaigns", {"kind": "Type Z"}),
    ("campaign_events", {"is_control": True}),
    ("holdings", {"balance": -1.0}),
    ("balances", {"balance": -1.0}),
]


@pytest.mark.parametrize(("table", "values"), CONFLICTS)
def test_a_key_with_two_contents_is_set_aside_whole(
    bank: DatasetConfig, sound: Frames, tmp_path: Path, table: str, values: dict[str, Any]
) -> None:
    result = deliver(altered(sound, table, once_more(**values)), tmp_path, bank)
    (count,) = result.validated[table].counts
    key = ", ".join(CONTRACT[table].key)
    assert (count.reason, count.rows) == (f"{table}: same key ({key}) with different contents", 2)
    assert result.tables.frames[table].height == sound[table].height - 1


def test_events_without_a_key_never_conflict(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    frames = altered(altered(sound, "sessions", once_more(pages=999)), "contacts", once_more(topic="x"))
    result = deliver(frames, tmp_path, bank)
    assert not any(v.counts for v in result.validated.values())


def test_a_row_that_is_kept_without_a_value_may_still_be_dropped_for_another(
    bank: DatasetConfig, sound: Frames, tmp_path: Path
) -> None:
    frames = altered(sound, "sessions", once_more(pages=-1, event="dance"))
    (count,) = deliver(frames, tmp_path, bank).validated["sessions"].counts
    assert (count.reason, count.action) == (
        "sessions: event is none of visit, search, support, login",
        "dropped",
    )


def test_a_missing_reference_points_nowhere(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    """Lines without a product, inflows without a merchant, sessions without a campaign are no unknown ones."""
    assert sound["transactions"]["product_id"].null_count()
    assert sound["transactions"]["merchant_id"].null_count()
    assert sound["sessions"]["campaign_id"].null_count()
    result = deliver(sound, tmp_path, bank)
    for table, column in (("transactions", "product_id"), ("transactions", "merchant_id"), ("sessions", "campaign_id")):
        assert result.tables.frames[table][column].null_count() == sound[table][column].null_count()


MISSING = {
    "campaigns": {"ctr", "cvr"},
    "campaign_events": {"ctr", "cvr"},
    "balances": {"balance_util"},
    "holdings": {"nba"},
    "merchants": {"spending_category"},
    "products": set(),
    "sessions": set(),
    "contacts": set(),
}


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("table", "off"), MISSING.items())
def test_a_missing_optional_table_switches_off_what_needs_it(
    bank: DatasetConfig, sound: Frames, tmp_path: Path, table: str, off: set[str], empty: bool
) -> None:
    frames = altered(sound, table, emptied) if empty else without(sound, table)
    result = deliver(frames, tmp_path, bank)
    assert set(result.tables.frames) == set(CONTRACT) - {table}
    assert set(result.tables.dataset.tasks_off) == off
    assert len(result.notes) == 1 + len(off)
    assert f"table {table}" in result.notes[0]
    assert not any(v.counts for v in result.validated.values())


def test_tasks_without_their_columns_are_off(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    frames = sound | {
        "transactions": sound["transactions"].drop("channel"),
        "balances": sound["balances"].with_columns(limit=pl.lit(None, pl.Float64)),
        "merchants": sound["merchants"].drop("brand"),
        "products": sound["products"].with_columns(brand=pl.lit(None, pl.String)),
        "campaign_events": sound["campaign_events"].filter(pl.col("event") != "click"),
    }
    result = deliver(frames, tmp_path, bank)
    assert set(result.tables.dataset.tasks_off) == {"channel", "balance_util", "brand_prediction", "ctr"}


def test_columns_that_may_be_missing_may_be_absent(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    bare = {
        name: frame.drop(c.name for c in CONTRACT[name].columns if (c.nullable or c.optional) and c.name in frame)
        for name, frame in sound.items()
    }
    bare["customers"] = bare["customers"].select("customer_id", "joined_on")
    bare["transactions"] = bare["transactions"].filter(~pl.col("kind").is_in(["purchase", "refund"]))
    result = deliver(bare, tmp_path, bank)
    assert not any(v.counts for v in result.validated.values())
    for name, frame in result.tables.frames.items():
        assert frame.columns == [c.name for c in CONTRACT[name].columns if not c.optional]


def test_other_widths_and_zones_mean_the_same(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    lines = sound["transactions"].with_columns(
        pl.col("quantity").cast(pl.Float32),
        pl.col("kind").cast(pl.Categorical),
        at=pl.col("at").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns"),
    )
    sessions = sound["sessions"].with_columns(pl.col("pages").cast(pl.Int16), pl.col("at").dt.replace_time_zone(None))
    other = deliver(sound | {"transactions": lines, "sessions": sessions}, tmp_path / "other", bank)
    assert same(other.tables, deliver(sound, tmp_path / "plain", bank).tables)


def test_the_order_of_rows_and_parts_changes_nothing(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    copy, conflict, negative = once_more(), once_more(discount=9.0), once_more(transaction_id="n1", amount=-1.0)
    dirty = altered(sound, "transactions", copy, conflict, negative)
    dirty = altered(dirty, "customers", once_more(customer_id="n1", birth_year=1492))
    one, two = deliver(dirty, tmp_path / "a", bank), deliver(shuffled(dirty, 3), tmp_path / "b", bank, parts=4)
    assert same(one.tables, two.tables)
    assert one.validated["transactions"].counts == two.validated["transactions"].counts


def _no_refunds(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("kind") != "refund")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: without(f, "transactions"), "required table transactions"),
        (lambda f: altered(f, "transactions", emptied), "table transactions has no rows"),
        (lambda f: altered(f, "balances", lambda frame: frame.drop("on")), r"missing column balances\.on"),
        (lambda f: altered(f, "balances", columns(on=pl.lit("today"))), r"balances\.on: expected type Date"),
        (lambda f: altered(f, "transactions", _no_refunds, columns(amount=pl.lit(-1.0))), "none of its"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    bank: DatasetConfig, sound: Frames, tmp_path: Path, change: Callable[[Frames], Frames], message: str
) -> None:
    with pytest.raises(DeliveryError, match=message):
        deliver(change(sound), tmp_path, bank)


def test_damaged_and_differing_parts_are_named(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    folder = write(sound, tmp_path, parts=2)
    part = folder / "tables" / "balances" / "part-00001.parquet"
    pl.read_parquet(part).with_columns(pl.col("balance").cast(pl.Float32)).write_parquet(part)
    with pytest.raises(
        DeliveryError, match=r"part-00001\.parquet has other columns.*balance \(Float32, expected Float64\)"
    ):
        read_delivery(bank, folder)
    part.write_bytes(b"PAR1 is not enough")
    with pytest.raises(DeliveryError, match=r"balances.*part-00001\.parquet.*cannot be read"):
        read_delivery(bank, folder)
    with pytest.raises(DeliveryError, match=r"names no folder.*generator bank_simulation"):
        read_delivery(bank)
    with pytest.raises(DeliveryError, match="is not a folder"):
        read_delivery(bank, tmp_path / "nowhere")


def test_too_many_bad_rows_stop_the_night(bank: DatasetConfig, sound: Frames, tmp_path: Path) -> None:
    lines = sound["transactions"]
    bad = lines.with_columns(
        amount=pl.when(pl.int_range(pl.len()) < lines.height // 30).then(pl.lit(1e12)).otherwise("amount")
    )
    with pytest.raises(DeliveryError, match=r"table transactions.*the limit is 2\.00%"):
        load_tables(bank, write(sound | {"transactions": bad}, tmp_path))
