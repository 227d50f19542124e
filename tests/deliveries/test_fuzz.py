"""One property of every delivery, however damaged: no input is misread in silence.

Each delivered row is in the tables, in quarantine with a reason, or in an error that stops the night; the counts add
up; and a row that was not damaged, and points at none that was, comes through as it was. Hypothesis draws deliveries of
0 to 5,000 transactions in the form of both sources, and one to three kinds of damage to each: 50 in every run of the
tests, 2,000 in `make trials`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from dataframely.exc import ValidationError
from hypothesis import HealthCheck, event, given, seed, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.declaration import Table
from feature_assets.data.quarantine import Validated, validate
from feature_assets.data.tables import StoredTables, Tables
from feature_assets.sources import Ingested, ingest, ingest_in_blocks, read_delivery, reader, reader_of
from feature_assets.sources.completejourney_tables import DECLARED
from pipeline.intake.deliveries import VERDICT, keep_validated
from tests.conftest import DATA_ROOT
from tests.deliveries import bank, drawn
from tests.deliveries.damage import BY_NAME, LEVELS, Damaged, damaged
from tests.deliveries.makers import Frames

SOURCES = ("contract_files", "completejourney")
EXAMPLES, NIGHTLY, PARTS = 50, 2_000, 8
_LINES = ("basket_id", "customer_id", "at", "amount", "merchant_id")


@cache
def _dataset(source: str) -> DatasetConfig:
    return bank.dataset() if source == "contract_files" else load_dataset(source, DATA_ROOT)


def _sound(source: str, number: int, size: int) -> Frames:
    make: Callable[[DatasetConfig, int, int], Frames]
    make = drawn.contract if source == "contract_files" else drawn.completejourney
    return make(_dataset(source), number, size)


@st.composite
def deliveries(draw: st.DrawFn) -> Damaged:
    """A sound delivery of either source with one to three kinds of damage."""
    source = draw(st.sampled_from(SOURCES))
    declared = CONTRACT if source == "contract_files" else DECLARED
    size = draw(st.sampled_from([300, 30, 1_000, 1, 2, 5_000, 100, 0]))
    kinds = st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2, 3]).flatmap(lambda level: st.sampled_from(LEVELS[level]))
    names = kinds.map(lambda kind: kind.__name__)
    damage = st.tuples(names, st.sampled_from(["transactions", *declared]), st.integers(0, 2**32 - 1))
    wanted = draw(st.lists(damage, min_size=1, max_size=3))
    sound = _sound(source, draw(st.integers(0, 2**32 - 1)), size)
    return damaged(_dataset(source), declared, sound, wanted)


def _ingest(made: Damaged, folder: Path) -> Ingested:
    made.write(folder)
    return ingest(read_delivery(made.dataset, folder))


def check(made: Damaged) -> str:
    """The property of one delivery; how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            ingested = _ingest(made, Path(folder))
        except DeliveryError as error:
            _explains_itself(made, str(error))
            if reader_of(made.dataset).in_blocks:
                _stops_in_blocks(made, Path(folder))
            return "stops the night"
        if reader_of(made.dataset).in_blocks:
            _is_the_same_in_blocks(made, ingested, Path(folder))
        _accounts_for_every_row(made, ingested)
        _changes_nothing_else(made, ingested)
        _reads_no_merged_number(made, ingested)
        _publishes_its_counts(ingested, Path(folder) / "validated")
    return "is read"


@contextmanager
def _in_blocks(made: Damaged, folder: Path) -> Iterator[Ingested[StoredTables]]:
    """The delivery, read a few customers at a time."""
    with tempfile.TemporaryDirectory() as spool:
        delivery = read_delivery(made.dataset, folder)
        few = 1 + made.sound["customers"].height // 4
        yield ingest_in_blocks(reader_of(made.dataset), delivery, few, Path(spool))


def _stops_in_blocks(made: Damaged, folder: Path) -> None:
    """Of several faults it may name another one first."""
    with pytest.raises(DeliveryError) as stopped, _in_blocks(made, folder):
        pass
    _explains_itself(made, str(stopped.value))


def _is_the_same_in_blocks(made: Damaged, ingested: Ingested, folder: Path) -> None:
    """Tables, what was set aside and why, and what the data set can answer, are those of the delivery as a whole."""
    with _in_blocks(made, folder) as blocks:
        blocks.tables.save(folder / "saved")
    tables = Tables.load(folder / "saved")
    assert tables.dataset == ingested.tables.dataset
    assert tables.frames.keys() == ingested.tables.frames.keys()
    for name, frame in ingested.tables.frames.items():
        assert_frame_equal(tables.frames[name], frame)
    assert_frame_equal(tables.protected, ingested.tables.protected)
    assert blocks.validated.keys() == ingested.validated.keys()
    for name, found in ingested.validated.items():
        own = blocks.validated[name]
        assert (own.delivered, own.dropped, own.limit_share) == (found.delivered, found.dropped, found.limit_share)
        assert {(c.reason, c.action, c.rows) for c in own.counts} == {
            (c.reason, c.action, c.rows) for c in found.counts
        }
        assert_frame_equal(own.quarantine, found.quarantine, check_row_order=False)
    different = {*blocks.notes} ^ {*ingested.notes}
    assert not [note for note in different if "stands for no date" not in note], (
        "those name the first values of a block"
    )


def _explains_itself(made: Damaged, message: str) -> None:
    """An error is a line or two about a table; rows alone stop a night only where a required table has no good one."""
    assert len(message.splitlines()) <= 2, message
    assert any(table in message for table in made.declared), message
    whole = [line for line in made.log if BY_NAME[line.split()[0]][0] > 0]
    if not whole:
        assert "can be used" in message or "has no rows" in message, message


def _accounts_for_every_row(made: Damaged, ingested: Ingested) -> None:
    one_to_one = CONTRACT if made.declared is CONTRACT else {"transactions": 0, "products": 0}
    for table, frame in made.delivered().items():
        found = ingested.validated.get(table)
        if found is None:
            assert any(table in note for note in ingested.notes), f"{table} is not mentioned: {ingested.notes}"
            absent = f"table {table} was not delivered" in ingested.notes
            assert not absent or frame.is_empty(), f"{frame.height} rows of {table} count as not delivered"
            continue
        assert found.delivered == frame.height
        assert found.quarantine.height == sum(count.rows for count in found.counts)
        assert found.quarantine["reason"].str.len_chars().min() != 0
        assert not found.quarantine["row"].null_count()
        gone = {action: sum(c.rows for c in found.counts if c.action == action) for action in ("dropped", "collapsed")}
        assert found.dropped == gone["dropped"]
        if table in one_to_one:
            assert ingested.tables.frames[table].height + sum(gone.values()) == frame.height, table
    for table in made.declared.keys() - made.frames.keys():
        assert any(table in note for note in ingested.notes), f"{table} is not mentioned: {ingested.notes}"
    over = [found for found in ingested.validated.values() if found.over_limit]
    if over:
        with pytest.raises(DeliveryError, match=over[0].table):
            ingested.check_limits()
    else:
        ingested.check_limits()


def _changes_nothing_else(made: Damaged, ingested: Ingested) -> None:
    if made.declared is not CONTRACT:
        lines = _as_lines(made.spared("transactions"))
        result = ingested.tables.frames["transactions"].select(lines.columns)
        assert lines.join(result, on=lines.columns, how="anti", nulls_equal=True).is_empty()
        return
    for table in made.sound:
        told = CONTRACT[table].told_by_events  # a damaged event may tell an earlier day of a row that was not damaged
        spared = made.spared(table)
        if spared.is_empty():
            continue
        spared = spared.select(c for c in spared.columns if c != told)
        result = ingested.tables.frames[table].select(spared.columns)
        lost = spared.join(result, on=spared.columns, how="anti", nulls_equal=True)
        assert lost.is_empty(), f"{table}: {lost.height} rows were lost or changed, first {lost.row(0)}"
        fresh = result.join(made.sound[table], on=spared.columns, how="anti", nulls_equal=True)
        touched = made.sound[table].height - spared.height + made.hurt(table).height
        assert fresh.height <= touched, f"{table}: {fresh.height} rows differ, {touched} were touched"


def _as_lines(transactions: pl.DataFrame) -> pl.DataFrame:
    """The Complete Journey's lines as the contract has them, without what other tables say about them."""
    text = {c: pl.col(c).cast(pl.String) for c in ("basket_id", "product_id", "household_id", "store_id")}
    return transactions.with_columns(
        transaction_id=pl.concat_str(text["basket_id"], text["product_id"], text["household_id"], separator=":"),
        customer_id=text["household_id"],
        merchant_id=text["store_id"],
        basket_id=text["basket_id"],
        amount=pl.col("sales_value"),
        at=pl.col("transaction_timestamp").dt.replace_time_zone("UTC"),
    ).select("transaction_id", *_LINES)


def _reads_no_merged_number(made: Damaged, ingested: Ingested) -> None:
    """A float that stands for several whole numbers is read as none of them."""
    names = [str(number) for number in made.merged]
    for table, frame in ingested.tables.frames.items() if names else ():
        texts = frame.select(cs.by_dtype(pl.String).is_in([*names, *(f"{name}.0" for name in names)]).any())
        whole = frame.select(cs.integer().is_in(list(made.merged)).any())
        for column in (*texts.iter_columns(), *whole.iter_columns()):
            assert not column.item(), f"{table}.{column.name} holds one of {names[:5]}"


def _publishes_its_counts(ingested: Ingested, folder: Path) -> None:
    keep_validated(ingested, folder)
    rows, counts = (pl.read_parquet(folder / "quarantine" / f"{name}.parquet") for name in ("rows", "counts"))
    assert rows.height == counts["rows"].sum()
    assert set(rows["table"]) == set(counts["table"])
    assert (folder / "quarantine" / VERDICT).is_file()


_FREE = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings(_FREE, max_examples=EXAMPLES, derandomize=True)
@given(deliveries())
def test_every_row_is_accounted_for(made: Damaged) -> None:
    event(check(made))


@pytest.mark.trial
@pytest.mark.parametrize("part", range(PARTS))
def test_every_row_of_many_deliveries_is_accounted_for(part: int) -> None:
    @seed(part)
    @settings(_FREE, max_examples=NIGHTLY // PARTS)
    @given(deliveries())
    def every_row(made: Damaged) -> None:
        check(made)

    every_row()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [1, 300])
def test_a_sound_delivery_comes_through_whole(source: str, size: int) -> None:
    """The drawn deliveries are sound, or the property would hold for a reader that loses everything."""
    declared = CONTRACT if source == "contract_files" else DECLARED
    made = damaged(_dataset(source), declared, _sound(source, 7, size), [])
    with tempfile.TemporaryDirectory() as folder:
        ingested = _ingest(made, Path(folder))
        _accounts_for_every_row(made, ingested)
        _changes_nothing_else(made, ingested)
        assert {table: found.counts for table, found in ingested.validated.items() if found.counts} == {}
        assert made.spared("transactions").height == made.sound["transactions"].height


@pytest.mark.parametrize(
    "fault",
    [
        lambda good: good.head(-1),
        lambda good: pl.concat([good, good.head(1)]),
        lambda good: good.with_columns(amount=pl.col("amount") + 1e-9),
        lambda good: good.with_columns(at=pl.col("at").shift(1, fill_value=pl.col("at").first())),
    ],
)
def test_a_reader_that_loses_doubles_or_alters_rows_is_noticed(
    fault: Callable[[pl.DataFrame], pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(table: Table, *args: Any, **words: Any) -> Validated:
        result = validate(table, *args, **words)
        return replace(result, good=fault(result.good)) if table.name == "transactions" else result

    made = damaged(_dataset("contract_files"), CONTRACT, _sound("contract_files", 5, 40), [("copy", "sessions", 1)])
    check(made)
    monkeypatch.setattr(reader, "validate", faulty)
    with pytest.raises((AssertionError, ValidationError)):
        check(made)


def test_each_kind_of_damage_does_something() -> None:
    """A kind that never applied would test nothing."""
    sound = _sound("contract_files", 3, 60)
    for name in BY_NAME:
        made = [damaged(_dataset("contract_files"), CONTRACT, sound, [(name, "transactions", k)]) for k in range(5)]
        assert any(
            m.broken
            or m.parts
            or m.places
            or "transactions" not in m.frames
            or not m.delivered()["transactions"].equals(sound["transactions"])
            or m.delivered()["transactions"].schema != sound["transactions"].schema
            for m in made
        ), name
