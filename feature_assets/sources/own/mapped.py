"""One contract table from the parts of its files, by its mapping: lazy frames to a lazy frame.

The frame has the contract's columns, and beside each that can fail one `<column> as delivered`, the text of a value
that could not be read. What needs all rows at once (which of several holds, numbers of lines) belongs to `finished.py`.
Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT, SPEND
from feature_assets.data.declaration import TEXT
from feature_assets.data.expressions import Reading, parse, sure
from feature_assets.data.mapping import ColumnMapping, Latest, TableMapping
from feature_assets.sources.own.places import Opened
from feature_assets.sources.own.values import Values

RAW = " as delivered"
LEFT_OUT, STAMP = "left out", "newest by"
"""Columns beside those of the contract: rows that `where` leaves out, and what tells the newest of a key."""

SHOP = "the shop"
MISSING_MERCHANT = pl.when(pl.col("kind").is_in(SPEND)).then(pl.lit(SHOP))

DEFAULTS: dict[str, dict[str, pl.Expr]] = {
    "customers": {"joined_on": pl.lit(None, pl.Date)},
    "merchants": {"category_l2": pl.col("category_l1")},
    "transactions": {
        "kind": pl.when(pl.col("amount") < 0).then(pl.lit("refund")).otherwise(pl.lit("purchase")),
        "basket_id": pl.concat_str("customer_id", pl.col("at").dt.to_string("%Y-%m-%d %H:%M:%S"), separator=" "),
        "discount": pl.lit(0.0),
        "merchant_id": MISSING_MERCHANT,
    },
    "campaigns": {"kind": pl.lit("campaign")},
    "sessions": {"channel": pl.lit("web"), "event": pl.lit("visit")},
}
"""Contract table → what stands in a column that no mapping fills, in the order in which they need each other."""


def mapped(name: str, mapping: TableMapping, parts: Sequence[Opened], zone: str) -> pl.LazyFrame:
    """The rows of all parts, as contract table `name`.

    Raises:
        DeliveryError: a part lacks a column that it may not lack; names the nearest one that it has.
    """
    frames = [_part(name, mapping, part, zone) for part in parts]
    frame = pl.concat(frames)
    for column, default in DEFAULTS.get(name, {}).items():
        if column not in mapping.columns:
            frame = frame.with_columns(default.alias(column))
    return frame


def _part(name: str, mapping: TableMapping, part: Opened, zone: str) -> pl.LazyFrame:
    schema = dict(part.frame.collect_schema())
    frame = part.frame
    needed = mapping.needs
    lacking = [column for column in needed if column not in schema]
    if not part.as_asked and (absent := [column for column in lacking if column not in mapping.may_lack]):
        what = f"column {absent[0]!r}" if len(absent) == 1 else f"columns {', '.join(map(repr, absent))}"
        raise DeliveryError(
            f"table {name}: {part.name} lacks {what}: {nearest(absent[0], schema)} Where a file may lack it, "
            f"write `optional: true` at the column."
        )
    frame = frame.with_columns(pl.lit(None, pl.String).alias(column) for column in lacking)
    values = Values(schema | dict.fromkeys(lacking, pl.String()), mapping.text, zone)
    read: list[pl.Expr] = []
    for column, how in mapping.columns.items():
        reading, dtype = read_column(name, column, how, values)
        raw = [values.text(source).value for source in how.columns]
        told = pl.concat_str(raw, separator=" | ", ignore_nulls=True) if raw else pl.lit(None, pl.String)
        read += [
            reading.value.cast(dtype).alias(column),
            pl.when(reading.unread).then(told).otherwise(pl.lit(None, pl.String)).alias(column + RAW),
        ]
    kept = parse(mapping.where).flag(values.columns) if mapping.where else sure(pl.lit(True))
    read.append((~kept.value & ~kept.unread).alias(LEFT_OUT))
    if mapping.where:
        raw = [values.text(source).value for source in parse(mapping.where).columns]
        told = pl.concat_str(raw, separator=" | ", ignore_nulls=True)
        read.append(pl.when(kept.unread).then(told).otherwise(pl.lit(None, pl.String)).alias(RAW))
    if mapping.latest is not None:
        read.append(_stamp(mapping.latest, values).alias(STAMP))
    return frame.select(read)


def read_column(table: str, column: str, how: ColumnMapping, values: Values) -> tuple[Reading, pl.DataType]:
    """The reading of a contract column, and its type as delivered."""
    declared = {c.name: c for c in CONTRACT[table].columns}
    dtype = declared[column].delivered.dtype if column in declared else TEXT
    if how.value is not None:
        return sure(pl.lit(how.value).cast(dtype)), dtype
    if how.expression is not None:
        expression = parse(how.expression)
        if expression.condition:
            return expression.flag(values.columns), dtype
        return expression.number(values.columns), pl.Float64()
    name = str(how.column)
    if how.map:
        reading = values.mapped(name, how)
        return (_flag_of(reading) if dtype == pl.Boolean else reading), dtype
    by_type: dict[type[pl.DataType], Callable[[], Reading]] = {
        pl.Date: lambda: values.day(name, how),
        pl.Datetime: lambda: values.instant(name, how),
        pl.Boolean: lambda: values.flag(name),
    }
    if type(dtype) in by_type:
        return by_type[type(dtype)](), dtype
    if dtype.is_numeric():
        integer = dtype.is_integer() and values.schema[name].is_integer()
        return values.number(name), dtype if integer else pl.Float64()
    is_name = column in declared and declared[column].names_a_thing
    return (values.name(name, how.key == "whole") if is_name or how.key else values.text(name)), dtype


def _flag_of(reading: Reading) -> Reading:
    small = reading.value.str.to_lowercase()
    return Reading(
        small.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean), reading.unread
    )


def _stamp(latest: Latest, values: Values) -> pl.Expr:
    """What grows with the time of a version; null sorts first."""
    if latest.format == ("number",):
        return values.number(latest.by).value.cast(pl.Float64)
    how = ColumnMapping(column=latest.by, format=latest.format)
    return values.instant(latest.by, how).value.dt.timestamp("us").cast(pl.Float64)


def words(table: str, column: str, mapping: TableMapping) -> str:
    """Why a value could not be read, to follow the column's name."""
    how = mapping.columns[column]
    source = how.column or how.expression
    dtype = next((c.dtype for c in CONTRACT[table].columns if c.name == column), TEXT)
    if how.map:
        return f"is none of the values that map names ({source!r})"
    if isinstance(dtype, pl.Date | pl.Datetime):
        hours = [
            name for name, policy in (("removed", how.removed_hour), ("doubled", how.doubled_hour)) if policy == "error"
        ]
        more = f", or lies in a {' or '.join(hours)} hour" if hours and isinstance(dtype, pl.Datetime) else ""
        return f"is no time in the form {' or '.join(how.format)}{more} ({source!r})"
    if dtype == pl.Boolean:
        return f"is neither true nor false ({source!r})"
    if dtype.is_numeric():
        form = mapping.text
        return f"is no number in the form 1{form.thousands}234{form.decimal}5 ({source!r})"
    return f"is no whole number ({source!r})"
