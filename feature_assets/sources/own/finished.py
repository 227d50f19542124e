"""What needs all rows of a mapped table: rows left out, versions of a key, numbers of lines, forms of keys.

Frame to frame. Source: DATA §1.
"""

from __future__ import annotations

import polars as pl

from feature_assets.data.coercion import DeliveryError, Wrong
from feature_assets.data.contract import CONTRACT
from feature_assets.data.mapping import TableMapping
from feature_assets.sources.own.mapped import LEFT_OUT, RAW, STAMP, words

DAYLESS = "without a transaction, which tells when a customer joined"
LINE = ("customer_id", "at", "product_id", "amount")
"""What names a line of a basket that has no number of its own; equal ones are counted."""


def finish(name: str, mapping: TableMapping, frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows that count, with their keys, and notes of what was left out.

    Raises:
        DeliveryError: a key has two forms, and the description does not say whether they are one.
    """
    notes: list[str] = []
    if LEFT_OUT in frame.columns:
        kept = frame.filter(~pl.col(LEFT_OUT)).drop(LEFT_OUT)
        if kept.height < frame.height:
            gone = frame.height - kept.height
            why = [f"not as where says ({mapping.where})"] if mapping.where else []
            why += [DAYLESS] if name == "customers" and "joined_on" not in mapping.columns else []
            notes.append(f"table {name}: {gone:,} of {frame.height:,} rows are left out: {', or '.join(why)}")
        frame = kept
    if STAMP in frame.columns:
        frame = _newest(name, mapping, frame, notes)
    if name == "transactions" and "transaction_id" not in frame.columns:
        frame = _numbered(frame)
    for column, how in mapping.columns.items():
        if how.key is None and how.column is not None and column.endswith("_id"):
            _require_one_form(name, column, frame[column])
    return frame, tuple(notes)


def _newest(name: str, mapping: TableMapping, frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Of the rows of one key those that are the newest; two that are equally new stay, to meet as a conflict."""
    key = list(CONTRACT[name].key)
    top = pl.col(STAMP).max().over(key)
    known = pl.any_horizontal(pl.col(column).is_null() for column in key)
    kept = frame.filter(known | (pl.col(STAMP) == top) | top.is_null()).drop(STAMP)
    if kept.height < frame.height:
        by = mapping.latest.by if mapping.latest else ""
        notes.append(
            f"table {name}: {frame.height - kept.height:,} rows are replaced by a newer one of their key ({by})"
        )
    return kept


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Lines with a name made of what they hold, and of how many equal ones stand before them."""
    parts = [column for column in LINE if column in frame.columns]
    number = pl.int_range(pl.len()).over(parts)
    texts = [pl.col(column).cast(pl.String).fill_null("") for column in parts]
    return frame.with_columns(transaction_id=pl.concat_str([*texts, number.cast(pl.String)], separator="|"))


def _require_one_form(name: str, column: str, keys: pl.Series) -> None:
    different = keys.drop_nulls().unique().to_frame("key").filter(pl.col("key").str.contains(r"^\d+(?:\.0*)?$"))
    bare = pl.col("key").str.extract(r"^0*(\d+?)(?:\.0*)?$", 1)
    twice = different.with_columns(bare=bare).filter(pl.len().over("bare") > 1).sort("bare", "key")
    if twice.height:
        first, second = twice["key"][0], twice["key"][1]
        raise DeliveryError(
            f"table {name}: {column} holds {first!r} and {second!r}. Write `key: whole` if they are one, `key: text` "
            f"if they are two."
        )


def unread(name: str, mapping: TableMapping, frame: pl.DataFrame) -> dict[str, list[Wrong]]:
    """Column → where its value could not be read, and why."""
    found: dict[str, list[Wrong]] = {}
    for raw in [column for column in frame.columns if column.endswith(RAW)]:
        column, bad = raw.removesuffix(RAW), frame[raw].is_not_null()
        if bad.any():
            why = words(name, column, mapping) if column else f"whether it counts cannot be told ({mapping.where})"
            found[column] = [(bad, why)]
    return found


def told(frame: pl.DataFrame) -> pl.DataFrame:
    """The texts of values that could not be read, of the columns that have one."""
    raws = [c for c in frame.columns if c.endswith(RAW) and frame[c].null_count() < frame.height]
    return frame.select(pl.col(raw).alias(raw if raw != RAW else f"where{RAW}") for raw in raws)
