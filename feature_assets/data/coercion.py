"""The column types of a delivered table: missing columns, conversion without loss, wrong types.

Here belongs the step from a delivered column to its declared type. Ranges, keys and references belong to
`quarantine.py`, times that stand for no time to `sentinels.py`.
Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.folding import folded
from feature_assets.data.sentinels import in_calendar, is_sentinel

Wrong = tuple[pl.Series, str]
"""Where values do not convert (Boolean [N]), and why, to follow the column's name."""

EXACT = {"Float16": 2**11, "Float32": 2**24, "Float64": 2**53}
"""Float type → the size from which on one float stands for several whole numbers."""


class DeliveryError(Exception):
    """A delivery that cannot be read: one message with table, column, the fault and the remedy."""


def require_columns(table: str, delivered: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> None:
    """Refuse a table with missing columns.

    Raises:
        DeliveryError: names the table and every missing column with the nearest delivered one.
    """
    missing = [column for column in expected if column not in delivered]
    if missing:
        lines = [f"{table}.{column} ({expected[column]}; {nearest(column, delivered)})" for column in missing]
        raise DeliveryError(
            f"table {table}: missing column{'s' if len(missing) > 1 else ''} {'; '.join(lines)}. "
            f"Found: {', '.join(delivered)}. Deliver the column under this name."
        )


def refuse_lookalikes(table: str, delivered: Iterable[str], absent: Iterable[str]) -> None:
    """Refuse a table with a column that seems to be one of the `absent` ones, which a delivery may lack.

    Raises:
        DeliveryError: names table, delivered and declared column.
    """
    alike = {folded(name): name for name in delivered}
    pairs = [f"{alike[column]!r} is not {table}.{column}" for column in absent if column in alike]
    if pairs:
        raise DeliveryError(f"table {table}: {'; '.join(pairs)}: spell the column like that, or take it away.")


def whole(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column of numbers as Int64; null where a value is none that only this number can stand for."""
    if not dtype.is_float():
        return column.cast(pl.Int64, strict=False)
    number = column.cast(pl.Float64).fill_nan(None)
    exact = (number.abs() < EXACT[str(dtype)]) & (number == number.round())
    return pl.when(exact).then(number).cast(pl.Int64, strict=False)


def coerce(table: str, column: pl.Series, expected: pl.DataType) -> tuple[pl.Series, list[Wrong]]:
    """The column as `expected`, and where its values do not convert. Those are null.

    Lossless: any integer, float with whole numbers that are exact (NaN = missing) → Int64; any number → Float64; any
    Datetime unit or zone → naive UTC microseconds; Datetime at midnight → Date; Categorical or Enum → String; an
    all-null column.

    Raises:
        DeliveryError: the type is another one; names table, column, both types and the first values.
    """
    dtype = column.dtype
    if dtype == pl.Null:
        return column.cast(expected), []
    if expected == pl.Int64 and dtype != expected and (dtype.is_integer() or dtype.is_float()):
        return _to_whole(column)
    if expected == pl.Float64 and dtype.is_numeric():
        return column.cast(pl.Float64), []
    if expected == pl.String and isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String), []
    if isinstance(expected, pl.Datetime) and isinstance(dtype, pl.Datetime):
        known, wrong = _in_calendar(column)
        naive = known.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else known
        return naive.cast(expected), wrong
    if expected == pl.Date and (dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None)):
        return _to_day(column)
    if dtype == expected:
        return column, []
    first = ", ".join(repr(v) for v in column.drop_nulls().head(3).to_list())
    raise DeliveryError(
        f"table {table}, column {table}.{column.name}: expected type {expected}, found {dtype}; first values: {first}. "
        f"Deliver the column as {expected}."
    )


def _to_whole(column: pl.Series) -> tuple[pl.Series, list[Wrong]]:
    dtype, name = column.dtype, column.name
    converted = column.to_frame().select(whole(pl.col(name), dtype).alias(name)).to_series()
    bad = column.is_not_null() & converted.is_null()
    if not dtype.is_float():
        return converted, _found((bad, "is above the largest whole number of 64 bits"))
    bad &= column.is_not_nan()
    infinite, size = bad & column.is_infinite(), EXACT[str(dtype)]
    vague = bad & ~infinite & (column.cast(pl.Float64).abs() >= size)
    several = f"is {size} or more in size, where a {dtype} stands for several whole numbers (deliver integers)"
    fraction = bad & ~infinite & ~vague
    return converted, _found((infinite, "is infinite"), (vague, several), (fraction, "is not a whole number"))


def _to_day(column: pl.Series) -> tuple[pl.Series, list[Wrong]]:
    column, wrong = _in_calendar(column)
    days = column.dt.date()
    timed = (column != days.cast(column.dtype)).fill_null(False) & ~is_sentinel(days)
    return days.set(timed, None), wrong + _found((timed, "has a time of day where a date is expected"))


def _in_calendar(column: pl.Series) -> tuple[pl.Series, list[Wrong]]:
    bad = ~in_calendar(column)
    return (column.set(bad, None) if bad.any() else column), _found((bad, "is no date of the calendar"))


def _found(*wrong: Wrong) -> list[Wrong]:
    return [(bad, words) for bad, words in wrong if bad.any()]
