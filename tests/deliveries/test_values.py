"""Values that stand for several, for none, or for no time: none of them is read as something else."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feature_assets.data.coercion import EXACT, DeliveryError, coerce
from feature_assets.data.quarantine import Validated
from feature_assets.data.sentinels import is_sentinel
from feature_assets.sources import Ingested, ingest, read_delivery
from tests.deliveries.makers import Frames, altered, columns, deliver, first_rows, same, write
from tests.deliveries.sources import COMPLETEJOURNEY, CONTRACT_FILES, Sound, both_sources

END, START = datetime(9999, 12, 31), datetime(1000, 1, 1)
FLOATS = (pl.Float16(), pl.Float32(), pl.Float64())


def told(result: Validated) -> dict[str, tuple[int, str]]:
    """Reason → rows and action."""
    return {count.reason: (count.rows, count.action) for count in result.counts}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_float_is_a_whole_number_as_long_as_it_stands_for_one(dtype: pl.DataType) -> None:
    limit = EXACT[str(dtype)]
    values = pl.Series("id", [limit - 1, 1 - limit, None, float("nan"), limit, -limit, 0.5, float("inf")], strict=False)
    found, wrong = coerce("t", values.cast(pl.Float64).cast(dtype), pl.Int64())
    assert found.to_list() == [limit - 1, 1 - limit, *[None] * 6]
    words = {text.partition(" (")[0]: bad.arg_true().to_list() for bad, text in wrong}
    assert words == {
        "is infinite": [7],
        f"is {limit} or more in size, where a {dtype} stands for several whole numbers": [4, 5],
        "is not a whole number": [6],
    }


@pytest.mark.parametrize(("dtype", "start"), [(pl.Float32(), 2**24), (pl.Float64(), 2**53)], ids=str)
@pytest.mark.parametrize("column", ["household_id", "basket_id", "product_id", "store_id"])
def test_keys_of_floats_never_become_one(column: str, dtype: pl.DataType, start: int, tmp_path: Path) -> None:
    frames = _numbered(COMPLETEJOURNEY.frames(), column, start, dtype)
    with pytest.raises(DeliveryError, match=rf"transactions\.{column} is {start} or more in size, where a {dtype}"):
        deliver(frames, tmp_path, COMPLETEJOURNEY.dataset()).check_limits()


def _numbered(frames: Frames, column: str, start: int, dtype: pl.DataType) -> Frames:
    """Every table with the column moved up by `start`, the transactions with it as floats."""
    changed = {
        name: frame.with_columns((pl.col(column).cast(pl.Int64) + start).alias(column))
        for name, frame in frames.items()
        if column in frame.columns
    }
    changed["transactions"] = changed["transactions"].with_columns(pl.col(column).cast(dtype))
    return frames | changed


def test_promotions_of_float_keys_never_meet_a_purchase(tmp_path: Path) -> None:
    frames = _numbered(COMPLETEJOURNEY.frames(), "product_id", 2**24, pl.Int64())
    frames = altered(frames, "promotions", columns(product_id=pl.col("product_id").cast(pl.Float32)))
    result = deliver(frames, tmp_path, COMPLETEJOURNEY.dataset()).validated["promotions"]
    assert {count.action for count in result.counts} == {"dropped"}
    assert sum(count.rows for count in result.counts) == frames["promotions"].height


def test_a_count_of_floats_that_stands_for_several_is_left_out(tmp_path: Path) -> None:
    frames = altered(
        CONTRACT_FILES.frames(),
        "transactions",
        first_rows(1, quantity=4096),
        columns(quantity=pl.col("quantity").cast(pl.Float16)),
    )
    result = deliver(frames, tmp_path, CONTRACT_FILES.dataset()).validated["transactions"]
    ((reason, found),) = told(result).items()
    assert reason.startswith("transactions.quantity is 2048 or more in size, where a Float16")
    assert found == (1, "kept without quantity")


def test_a_whole_number_of_64_bits_without_a_sign_is_too_large(tmp_path: Path) -> None:
    large = (
        pl.when(pl.int_range(pl.len()) < 1)
        .then(pl.lit(2**63, pl.UInt64))
        .otherwise(pl.col("basket_id").cast(pl.UInt64))
    )
    frames = altered(COMPLETEJOURNEY.frames(), "transactions", columns(basket_id=large))
    result = deliver(frames, tmp_path, COMPLETEJOURNEY.dataset()).validated["transactions"]
    assert told(result) == {"transactions.basket_id is above the largest whole number of 64 bits": (1, "dropped")}


@pytest.mark.parametrize(
    ("table", "column"),
    [("customers", "customer_id"), ("transactions", "transaction_id"), ("transactions", "basket_id")],
)
@pytest.mark.parametrize("blank", ["", " \t"])
def test_a_blank_name_names_nothing(table: str, column: str, blank: str, tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    named = frames[table].row(0, named=True)["customer_id"]
    result = deliver(altered(frames, table, first_rows(1, **{column: blank})), tmp_path, CONTRACT_FILES.dataset())
    assert told(result.validated[table]) == {f"{table}: {column} is empty": (1, "dropped")}
    assert (named in result.tables.frames["customers"]["customer_id"]) == (table != "customers")


def test_a_blank_name_is_missing_where_it_may_be(tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    blank = altered(frames, "transactions", columns(product_id=pl.col("product_id").fill_null("")))
    missing = deliver(frames, tmp_path / "missing", CONTRACT_FILES.dataset())
    found = deliver(blank, tmp_path / "blank", CONTRACT_FILES.dataset())
    assert same(found.tables, missing.tables)
    assert not found.validated["transactions"].counts


def test_nan_is_missing_where_a_number_may_be(tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    nan = frames | {
        "balances": frames["balances"].with_columns(pl.col("limit").fill_null(float("nan"))),
        "sessions": frames["sessions"].with_columns(pl.col("seconds").fill_null(float("nan"))),
    }
    found = deliver(nan, tmp_path / "nan", CONTRACT_FILES.dataset())
    assert same(found.tables, deliver(frames, tmp_path / "plain", CONTRACT_FILES.dataset()).tables)
    assert not any(result.counts for result in found.validated.values())


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        *((day, True) for day in (date(1, 1, 1), date(1900, 12, 31), date(2099, 1, 1), date(9999, 12, 31))),
        *((day, False) for day in (date(1901, 1, 1), date(1970, 1, 1), date(2098, 12, 31))),
    ],
)
def test_sentinels_are_told_by_their_year(day: date, expected: bool) -> None:
    assert is_sentinel(pl.Series([day, None])).to_list() == [expected, False]
    assert is_sentinel(pl.Series([day]).cast(pl.Datetime("us"))).to_list() == [expected]


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("number", [2**62, -(2**62)])
def test_a_time_outside_the_calendar_is_a_fault_of_its_row(unit: Any, number: int, tmp_path: Path) -> None:
    at = (
        pl.when(pl.int_range(pl.len()) < 1)
        .then(pl.lit(number))
        .otherwise(pl.col("transaction_timestamp").dt.cast_time_unit(unit).to_physical())
    )
    frames = altered(
        COMPLETEJOURNEY.frames(), "transactions", columns(transaction_timestamp=at.cast(pl.Datetime(unit)))
    )
    result = deliver(frames, tmp_path, COMPLETEJOURNEY.dataset()).validated["transactions"]
    reason = "transactions.transaction_timestamp is no date of the calendar"
    assert told(result) == {reason: (1, "dropped")}
    assert str(number) in result.quarantine["row"][0]


def with_int96(sound: Sound, frames: Frames, table: str, folder: Path) -> Ingested:
    """Ingest the delivery with the times of one table in 96 bits."""
    write(frames, folder, in_int96=[table])
    return ingest(read_delivery(sound.dataset(), folder))


@both_sources
def test_times_of_96_bits_are_read_as_they_are(sound: Sound, tmp_path: Path) -> None:
    frames = sound.frames()
    plain = deliver(frames, tmp_path / "plain", sound.dataset())
    (tmp_path / "int96").mkdir()
    assert same(with_int96(sound, frames, "transactions", tmp_path / "int96").tables, plain.tables)


@both_sources
@pytest.mark.parametrize(("sentinel", "when"), [(END, "2099 or after"), (START, "1900 or before")])
def test_a_sentinel_where_a_time_is_needed_is_named(
    sound: Sound, sentinel: datetime, when: str, tmp_path: Path
) -> None:
    at = sound.instant
    frames = altered(sound.frames(), "transactions", columns(**{at: pl.col(at).dt.cast_time_unit("us")}))
    zone = frames["transactions"].schema[at].time_zone  # type: ignore[attr-defined]
    wrong = sentinel if zone is None else pl.Series([sentinel]).dt.replace_time_zone("UTC").item()
    frames = altered(frames, "transactions", first_rows(1, **{at: wrong}))
    (tmp_path / "int96").mkdir()
    for result in (
        deliver(frames, tmp_path / "plain", sound.dataset()),
        with_int96(sound, frames, "transactions", tmp_path / "int96"),
    ):
        reason = f"transactions.{at} is a sentinel (of {when}), which stands for no date"
        assert told(result.validated["transactions"]) == {reason: (1, "dropped")}


@pytest.mark.parametrize("day", [END, START, datetime(9999, 12, 31, 23, 59, 59)])
def test_a_holding_that_closes_on_a_sentinel_is_open(day: datetime, tmp_path: Path) -> None:
    frames = CONTRACT_FILES.frames()
    held = columns(closed_on=pl.col("closed_on").cast(pl.Datetime("us")).fill_null(day))
    plain = deliver(frames, tmp_path / "plain", CONTRACT_FILES.dataset())
    (tmp_path / "held").mkdir()
    found = with_int96(CONTRACT_FILES, altered(frames, "holdings", held), "holdings", tmp_path / "held")
    assert same(found.tables, plain.tables)
    assert not found.validated["holdings"].counts
    open_ones = frames["holdings"]["closed_on"].null_count()
    assert f"holdings.closed_on: {day.date()} stands for no date in {open_ones:,} rows" in found.notes


@both_sources
def test_a_campaign_without_an_end_goes_on(sound: Sound, tmp_path: Path) -> None:
    table, column = {
        "customer_id": ("campaigns", "ends_on"),
        "household_id": ("campaign_descriptions", "end_date"),
    }[sound.customer]
    frames = altered(sound.frames(), table, columns(**{column: pl.col(column).cast(pl.Datetime("us"))}))
    frames = altered(frames, table, first_rows(1, **{column: END}))
    (tmp_path / "int96").mkdir()
    found = with_int96(sound, frames, table, tmp_path / "int96")
    assert not found.validated[table].counts
    assert END.date() in found.tables.frames["campaigns"]["ends_on"]
