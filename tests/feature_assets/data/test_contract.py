"""The contract: every delivered row is accounted for once, with its reason; wrong columns and types are one error."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.coercion import DeliveryError, coerce
from feature_assets.data.contract import CONTRACT, conform
from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.declaration import INSTANT, NUMBER, WHOLE, Column, Reference, Table, by_name
from feature_assets.data.quarantine import validate
from tests.conftest import DATA_ROOT

LINES = Table(
    "lines",
    instant="at",
    columns=(
        Column("a", WHOLE, key=True),
        Column("b", WHOLE, key=True),
        Column("count", WHOLE, least=0),
        Column("amount", NUMBER, nullable=True, most=10),
        Column("at", pl.Datetime("us")),
    ),
    references=(Reference(("b",), "things", "unknown thing", "b"),),
)
NOON = datetime(2017, 5, 1, 12)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
THINGS = {"things": pl.DataFrame({"b": [0, 1, 2]})}


def lines(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        list(rows),
        schema={"a": pl.Int64, "b": pl.Int64, "count": pl.Int64, "amount": pl.Float64, "at": pl.Datetime("us")},
        orient="row",
    )


def reasons(frame: pl.DataFrame, dataset: DatasetConfig) -> dict[str, tuple[int, str]]:
    result = validate(LINES, frame, dataset, THINGS, now=NOW)
    return {count.reason: (count.rows, count.action) for count in result.counts}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, 1, 1, 1.0, NOON), "lines.a is missing"),
        ((5, 1, -1, 1.0, NOON), "lines.count is below 0"),
        ((5, 1, None, 1.0, NOON), "lines.count is missing"),
        ((5, 1, 1, float("inf"), NOON), "lines.amount is infinite"),
        ((5, 1, 1, 11.0, NOON), "lines.amount is above 10"),
        ((5, 1, 1, 1.0, datetime(2018, 1, 1, 5)), "lines.at is in the future of the delivery"),
        ((5, 1, 1, 1.0, datetime(2017, 1, 1, 4, 59)), "lines.at is before the first day of the delivery (2017-01-01)"),
    ],
)
def test_each_fault_has_its_reason_and_costs_no_good_row(
    row: tuple[object, ...], reason: str, dataset: DatasetConfig
) -> None:
    good = [(i, 1, 1, 1.0, NOON) for i in range(3)]
    result = validate(LINES, lines(*good, row), dataset, THINGS, now=NOW)
    assert result.good["a"].to_list() == [0, 1, 2]
    assert [(c.reason, c.rows, c.action) for c in result.counts] == [(reason, 1, "dropped")]
    assert result.quarantine["reason"].to_list() == [reason]
    assert result.dropped == 1
    assert result.dropped_share == 0.25
    assert result.over_limit


def test_the_last_covered_instant_is_not_the_future(dataset: DatasetConfig) -> None:
    assert not reasons(lines((1, 1, 1, 1.0, datetime(2018, 1, 1, 4, 59, 59))), dataset)


def test_the_wall_clock_bounds_the_present(dataset: DatasetConfig) -> None:
    now = datetime(2017, 5, 1, 11, tzinfo=UTC)
    result = validate(LINES, lines((1, 1, 1, 1.0, NOON)), dataset, THINGS, now=now)
    assert [c.reason for c in result.counts] == ["lines.at is in the future of the delivery"]


def test_copies_collapse_and_conflicts_are_all_dropped(dataset: DatasetConfig) -> None:
    frame = lines(
        (1, 1, 1, 1.0, NOON), (1, 1, 1, 1.0, NOON), (2, 1, 1, 1.0, NOON), (2, 1, 2, 1.0, NOON), (3, 1, 1, 1.0, NOON)
    )
    result = validate(LINES, frame, dataset, THINGS, now=NOW)
    assert result.good["a"].to_list() == [1, 3]
    assert reasons(frame, dataset) == {
        "lines: exact copy of another row": (1, "collapsed"),
        "lines: same key (a, b) with different contents": (2, "dropped"),
    }
    assert result.dropped == 2
    assert result.quarantine["key"].to_list() == ["a=1, b=1", "a=2, b=1", "a=2, b=1"]


def test_a_bad_row_does_not_make_a_good_row_conflict(dataset: DatasetConfig) -> None:
    frame = lines((1, 1, 1, 1.0, NOON), (1, 1, -1, 1.0, NOON))
    assert reasons(frame, dataset) == {"lines.count is below 0": (1, "dropped")}


def test_an_unknown_reference_is_kept_without_its_column(dataset: DatasetConfig) -> None:
    frame = lines((1, 9, 1, 1.0, NOON), (2, 1, 1, 1.0, NOON))
    result = validate(LINES, frame, dataset, THINGS, now=NOW)
    assert result.good["b__unknown"].to_list() == [True, False]
    assert reasons(frame, dataset) == {"lines.b: unknown thing": (1, "kept without b")}
    assert result.dropped == 0


def test_the_quarantine_shows_the_row_as_delivered(dataset: DatasetConfig) -> None:
    frame = lines((1, 1, -4, float("inf"), NOON)).with_columns(pl.col("count").cast(pl.Float32))
    row = validate(LINES, frame, dataset, THINGS, now=NOW).quarantine["row"][0]
    assert '"count":-4.0' in row
    assert '"amount":"inf"' in row


any_row = st.tuples(
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([0, 1, 7]),
    st.sampled_from([None, -1, 0, 1]),
    st.sampled_from([None, 1.0, 11.0, float("nan"), float("-inf")]),
    st.sampled_from([None, NOON, datetime(2016, 1, 1), datetime(2018, 1, 2)]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(any_row, max_size=12))
def test_every_row_is_accounted_for_once(dataset: DatasetConfig, rows: list[tuple[object, ...]]) -> None:
    frame = lines(*rows)
    result = validate(LINES, frame, dataset, THINGS, now=NOW)
    gone = result.quarantine.filter(pl.col("action").is_in(["dropped", "collapsed"]))
    assert result.good.height + gone.height == frame.height == result.delivered
    assert sum(c.rows for c in result.counts) == result.quarantine.height
    assert LINES.schema.is_valid(result.good.drop("b__unknown"))
    again = validate(LINES, result.good, dataset, THINGS, now=NOW)
    assert again.dropped == 0
    shuffled = validate(LINES, frame.reverse(), dataset, THINGS, now=NOW)
    assert shuffled.good.sort("a", "b").equals(result.good.sort("a", "b"), null_equal=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series("c", [1, 2], dtype=pl.Int32), pl.Int64()),
        (pl.Series("c", [1.0, None, float("nan")], dtype=pl.Float64), pl.Int64()),
        (pl.Series("c", [1, 2], dtype=pl.UInt8), pl.Float64()),
        (pl.Series("c", [1.5], dtype=pl.Float32), pl.Float64()),
        (pl.Series("c", ["x"], dtype=pl.Categorical), pl.String()),
        (pl.Series("c", [NOON], dtype=pl.Datetime("ns")), pl.Datetime("us")),
        (pl.Series("c", [date(2017, 1, 1)]).cast(pl.Datetime("ms")), pl.Date()),
        (pl.Series("c", [None, None]), pl.Date()),
    ],
)
def test_lossless_casts_are_fine(values: pl.Series, expected: pl.DataType) -> None:
    converted, wrong = coerce("t", values, expected)
    assert converted.dtype == expected
    assert wrong == []


def test_a_zoned_instant_becomes_naive_utc() -> None:
    zoned = pl.Series("c", [NOON]).dt.replace_time_zone("America/New_York")
    assert coerce("t", zoned, pl.Datetime("us"))[0].to_list() == [datetime(2017, 5, 1, 16)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series("c", ["12", "x"]), pl.Int64()),
        (pl.Series("c", [True]), pl.Int64()),
        (pl.Series("c", ["1.5"]), pl.Float64()),
        (pl.Series("c", [7]), pl.String()),
        (pl.Series("c", [date(2017, 1, 1)]), pl.Datetime("us")),
        (pl.Series("c", ["2017-01-01"]), pl.Datetime("us")),
    ],
)
def test_a_wrong_type_is_one_error_with_first_values(values: pl.Series, expected: pl.DataType) -> None:
    with pytest.raises(DeliveryError) as caught:
        coerce("t", values, expected)
    message = str(caught.value)
    assert "table t, column t.c" in message
    assert str(expected) in message
    assert str(values.dtype) in message
    assert repr(values[0]) in message


def test_values_that_do_not_convert_are_row_faults(dataset: DatasetConfig) -> None:
    frame = lines((1, 1, 1, 1.0, NOON), (2, 1, 1, 1.0, NOON)).with_columns(pl.Series("count", [1.0, 1.5]))
    assert reasons(frame, dataset) == {"lines.count is not a whole number": (1, "dropped")}


def test_missing_columns_name_the_nearest(dataset: DatasetConfig) -> None:
    with pytest.raises(DeliveryError, match=r"missing column lines\.amount .*did you mean 'amounts'"):
        validate(LINES, lines().rename({"amount": "amounts"}), dataset, THINGS)


def test_contract_tables_refuse_what_breaks_them() -> None:
    good = pl.DataFrame({"customer_id": ["1", "2"], "joined_on": [date(2017, 1, 1)] * 2, "age": ["65+", None]})
    assert conform("customers", good).columns == ["customer_id", "joined_on", "age"]
    with pytest.raises(dy.exc.ValidationError):
        conform("customers", good.with_columns(customer_id=pl.lit("1")))
    with pytest.raises(dy.exc.SchemaError):
        conform("customers", good.drop("joined_on"))
    with pytest.raises(dy.exc.SchemaError, match="birth_year"):
        conform("customers", good.with_columns(birth_year=pl.lit("1980")))
    held = pl.DataFrame(
        {
            "customer_id": ["1"],
            "product_kind": ["fund"],
            "opened_on": [date(2017, 1, 1)],
            "as_of": [date(2017, 2, 1)],
            "closed_on": [date(2017, 3, 1)],
            "balance": [1.0],
            "limit": [None],
        },
        schema_overrides={"limit": pl.Float64},
    )
    with pytest.raises(dy.exc.ValidationError, match="stated_when_known"):
        conform("holdings", held)


def test_every_contract_table_is_declared_whole() -> None:
    for name, table in CONTRACT.items():
        assert table.name == name
        assert table.meaning
        assert all(table.meanings.values()), name
        named = {*table.order, *table.key, *table.rules, *table.soft.values()} | ({table.instant} - {None})
        assert named - set(table.rules) <= set(table.types), name
        assert set(table.soft) <= set(table.types) | set(table.reasons)
        if table.key and table.order:
            assert set(table.key) <= set(table.order), f"{name}: the order leaves rows of different keys open"


def test_the_delivered_form_differs_in_widths_and_zones_only() -> None:
    for table in CONTRACT.values():
        delivered = table.delivered
        assert delivered.schema.columns().keys() == table.schema.columns().keys()
        assert (delivered.key, delivered.reasons, delivered.soft) == (table.key, table.reasons, table.soft)
        for name, dtype in table.types.items():
            wide = delivered.types[name]
            assert wide == dtype or (dtype, wide) in [(pl.Int32, pl.Int64), (INSTANT, pl.Datetime("us"))]


def test_a_table_refers_to_tables_that_are_declared_before_it() -> None:
    with pytest.raises(ValueError, match="lines refers to things"):
        by_name(LINES)


def test_settings_are_closed(tmp_path: Path, dataset: DatasetConfig) -> None:
    values = dataset.model_dump(mode="json")
    with pytest.raises(ValueError, match=r"unknown key 'horizon_day'.*did you mean 'horizon_days'"):
        DatasetConfig(**values, horizon_day=7)
    with pytest.raises(ValueError, match="did you mean 'America/New_York'"):
        DatasetConfig(**{**values, "zone": "America/NewYork"})
    with pytest.raises(ValueError, match="not before"):
        DatasetConfig(**{**values, "covers_until": "2016-01-01"})
    with pytest.raises(ValueError, match="quarantine limit of 'products'"):
        DatasetConfig(**{**values, "quarantine_limits": {"products": 2}})
    (tmp_path / "mine.yaml").write_text("name: mine\nzone: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml, line 2: "):
        load_dataset("mine", tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine\nzone: UTC\nzone: UTC\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml, line 3: the key 'zone' stands there twice"):
        load_dataset("mine", tmp_path)
    described = yaml.safe_dump({**values, "name": "mine", "horizon_days": True})
    (tmp_path / "mine.yaml").write_text(described, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml, line \d+: horizon_days: expected a number"):
        load_dataset("mine", tmp_path)
    (tmp_path / "mine.yaml").write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml: title: Field required\n.*mine\.yaml: notice: Field"):
        load_dataset("mine", tmp_path)
    with pytest.raises(FileNotFoundError, match="did you mean 'mine'"):
        load_dataset("mime", tmp_path)
    with pytest.raises(FileNotFoundError, match="did you mean 'mine'"):
        load_dataset(str(tmp_path / "mime.yaml"), DATA_ROOT)
