"""The column types of a delivered table: missing columns, conversion without loss, wrong types.

Here belongs the step from a delivered column to its declared type. Ranges, keys and references belong to
`quarantine.py`.
Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from feature_assets.closed import nearest


class DeliveryError(Exception):
    """A delivery that cannot be read: one message with table, column, the fault and the remedy."""


def require_columns(table: str, delivered: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> None:
    """Refuse a table with missing columns or with a column of a type that no lossless cast repairs.

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


def coerce(table: str, column: pl.Series, expected: pl.DataType) -> tuple[pl.Series, pl.Series | None]:
    """The column as `expected`, and where its values do not convert (Boolean, None when all do).

    Lossless: any integer, float with whole numbers (NaN = missing) → Int64; any number → Float64; any Datetime unit or
    zone → naive UTC microseconds; Datetime at midnight → Date; Categorical or Enum → String; an all-null column.

    Raises:
        DeliveryError: the type is another one; names table, column, both types and the first values.
    """
    dtype = column.dtype
    if dtype == expected:
        return column, None
    if dtype == pl.Null:
        return column.cast(expected), None
    if expected == pl.Int64 and (dtype.is_integer() or dtype.is_float()):
        whole = column.fill_nan(None) if dtype.is_float() else column
        converted = whole.cast(pl.Int64, strict=False)
        bad = whole.is_not_null() & (converted.is_null() | (converted != whole).fill_null(True))
        return converted, bad if bad.any() else None
    if expected == pl.Float64 and dtype.is_numeric():
        return column.cast(pl.Float64), None
    if expected == pl.String and isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String), None
    if isinstance(expected, pl.Datetime) and isinstance(dtype, pl.Datetime):
        naive = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else column
        return naive.cast(expected), None
    if expected == pl.Date and isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        days = column.dt.date()
        bad = (column != days.cast(dtype)).fill_null(False)
        return days, bad if bad.any() else None
    first = ", ".join(repr(v) for v in column.drop_nulls().head(3).to_list())
    raise DeliveryError(
        f"table {table}, column {table}.{column.name}: expected type {expected}, found {dtype}; first values: {first}. "
        f"Deliver the column as {expected}."
    )


NOT_CONVERTED = {
    pl.Int64: "is not a whole number",
    pl.Date: "has a time of day where a date is expected",
}
"""Reason of a single value that does not convert, by declared type."""
