"""A delivery read in blocks of customers is the delivery read whole; `tests/deliveries/test_fuzz.py` damages both."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.tables import Tables
from feature_assets.sources import blocks as reading
from feature_assets.sources import ingest, ingest_in_blocks, is_large, read_delivery, reader_of
from tests.deliveries import bank
from tests.deliveries.makers import Change, Frames, altered, columns, emptied, once_more, same, write


def both(frames: Frames, folder: Path, at_a_time: int = 3) -> tuple[Tables, Tables, list[set[tuple[str, int]]]]:
    """The tables of a delivery in blocks, and as a whole; and of both what was set aside for which reason."""
    delivery = read_delivery(bank.dataset(), write(frames, folder / "delivery"))
    assert is_large(delivery, at_a_time)
    assert not is_large(delivery, frames["customers"].height)
    (folder / "spool").mkdir()
    blocks = ingest_in_blocks(reader_of(delivery.dataset), delivery, at_a_time, folder / "spool")
    blocks.tables.save(folder / "saved")
    whole = ingest(delivery)
    told = [{(c.reason, c.rows) for v in found.validated.values() for c in v.counts} for found in (blocks, whole)]
    assert {n: (v.delivered, v.dropped) for n, v in blocks.validated.items()} == {
        n: (v.delivered, v.dropped) for n, v in whole.validated.items()
    }
    return Tables.load(folder / "saved"), whole.tables, told


def test_a_sound_delivery_has_the_same_tables(tmp_path: Path) -> None:
    frames = {name: frame.sample(fraction=1, shuffle=True, seed=1) for name, frame in bank.sound().items()}
    blocks, whole, told = both(frames, tmp_path)
    assert same(blocks, whole)
    assert blocks.dataset == whole.dataset
    assert told == [set(), set()]


def another_customers(frame: pl.DataFrame) -> pl.DataFrame:
    """With a row more that has the key of the first customer's row and the name of the last one."""
    frame = frame.sort("customer_id")
    return pl.concat([frame, frame[:1].with_columns(customer_id=pl.lit(frame["customer_id"][-1]))])


CASES: dict[str, tuple[str, Change, str]] = {
    "a key of two customers": (
        "transactions",
        another_customers,
        "transactions: same key (transaction_id) with different contents",
    ),
    "a key that is bad in one of them": (
        "transactions",
        lambda frame: another_customers(frame).with_columns(
            amount=pl.when(pl.int_range(pl.len()) == pl.len() - 1).then(None).otherwise("amount")
        ),
        "transactions.amount is missing",
    ),
    "a copy": ("transactions", once_more(), "transactions: exact copy of another row"),
    "an unknown customer that sorts last": (
        "sessions",
        once_more(customer_id="zzz"),
        "sessions.customer_id: unknown customer",
    ),
    "no customer": ("transactions", once_more(customer_id=None), "transactions.customer_id is missing"),
    "joined after the first event": (
        "customers",
        columns(joined_on=pl.col("joined_on").dt.offset_by("60d")),
        "customers.joined_on is after the first event of its row in",
    ),
}


@pytest.mark.parametrize("keys_at_a_time", [reading.KEYS_AT_A_TIME, 4])
@pytest.mark.parametrize("name", list(CASES))
def test_what_is_wrong_is_found_in_any_block(
    name: str, keys_at_a_time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "KEYS_AT_A_TIME", keys_at_a_time)
    table, change, reason = CASES[name]
    blocks, whole, (found, expected) = both(altered(bank.sound(), table, change), tmp_path)
    assert found == expected
    assert any(words.startswith(reason) for words, _ in found), found
    assert same(blocks, whole)


def test_protected_columns_stay_beside_the_tables(tmp_path: Path) -> None:
    dataset = bank.dataset().model_copy(update={"protected": ("occupation",)})
    delivery = read_delivery(dataset, write(bank.sound(), tmp_path / "delivery"))
    (tmp_path / "spool").mkdir()
    ingest_in_blocks(reader_of(dataset), delivery, 3, tmp_path / "spool").tables.save(tmp_path / "saved")
    blocks, whole = Tables.load(tmp_path / "saved"), ingest(delivery).tables
    assert "occupation" not in blocks.frames["customers"].columns
    assert blocks.protected.equals(whole.protected)


def test_a_required_table_without_rows_stops(tmp_path: Path) -> None:
    delivery = read_delivery(
        bank.dataset(), write(altered(bank.sound(), "transactions", emptied), tmp_path / "delivery")
    )
    (tmp_path / "spool").mkdir()
    with pytest.raises(DeliveryError, match="table transactions has no rows"):
        ingest_in_blocks(reader_of(delivery.dataset), delivery, 3, tmp_path / "spool")
