"""Records of the rows that were set aside, and their counts.

Which rows those are is decided in `quarantine.py`, `references.py` and `agreement.py`. Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from feature_assets.data.declaration import Table
from feature_assets.data.sentinels import in_calendar

Fault = tuple[pl.Series, str, str]
"""Positions of rows in the delivered frame, reason, action."""

QUARANTINE_SCHEMA = dict.fromkeys(("table", "key", "reason", "action", "row"), pl.String)
DROPPED, COLLAPSED = "dropped", "collapsed"
UNKNOWN = "__unknown"  # ends the name of the flag that marks a kept row whose reference points at nothing
POSITION = "row_position"


@dataclass(frozen=True)
class ReasonCount:
    """Number of rows of a table that were set aside for one reason, and the first of them."""

    reason: str
    action: str
    rows: int
    first: str


def records(table: Table, frame: pl.DataFrame, aside: Sequence[Fault]) -> pl.DataFrame:
    """The quarantine frame of the rows of `frame` that were set aside. A table without a key is named by the columns
    that cannot be missing."""
    parts: list[pl.DataFrame] = []
    for positions, reason, action in aside:
        rows = frame[positions.sort()].rechunk()  # many threads leave empty chunks, which polars#25187 cannot format
        rows = rows.select(_readable(rows))
        part = rows.select(
            table=pl.lit(table.name),
            key=key_text(table),
            reason=pl.lit(reason),
            action=pl.lit(action),
            row=pl.struct(pl.all()).struct.json_encode(),
        )
        parts.append(part)
    return pl.concat(parts) if parts else pl.DataFrame(schema=QUARANTINE_SCHEMA)


def key_text(table: Table) -> pl.Expr:
    """The words that name a row in its record."""
    names = table.key or [column.name for column in table.columns if not (column.nullable or column.optional)]
    words = [pl.format("{}={}", pl.lit(c), pl.col(c).cast(pl.String).fill_null("null")) for c in names]
    return pl.concat_str(words, separator=", ")


def counts_of(quarantine: pl.DataFrame) -> tuple[ReasonCount, ...]:
    """The counts of a table's records by reason and action, most rows first."""
    grouped = quarantine.group_by("reason", "action", maintain_order=True).agg(pl.len(), first=pl.col("row").first())
    counts = [ReasonCount(reason, action, rows, first) for reason, action, rows, first in grouped.iter_rows()]
    return tuple(sorted(counts, key=lambda c: (-c.rows, c.reason)))


def without(rows: pl.DataFrame, faults: Sequence[Fault]) -> pl.DataFrame:
    """The rows without those that do not go on."""
    gone = [positions for positions, _, action in faults if action in (DROPPED, COLLAPSED)]
    return rows.filter(~pl.col(POSITION).is_in(pl.concat(gone).implode())) if gone else rows


def _readable(frame: pl.DataFrame) -> Iterator[pl.Expr]:
    """Columns as JSON can hold them: NaN, infinity and times outside the calendar, which it cannot, as text."""
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if dtype.is_float() and not bool(frame[name].is_finite().all()):
            column = column.cast(pl.String)
        elif isinstance(dtype, pl.Date | pl.Datetime) and not bool((known := in_calendar(frame[name])).all()):
            number = pl.lit(frame[name].to_physical().cast(pl.String))
            column = pl.when(known).then(column).cast(pl.String).fill_null(number).alias(name)
        yield column
