"""References between tables: rows that point at nothing, at a row that was set aside, or at one that is not yet there.

A key that looks like a known one is never taken for it; the reason says that it does, so that the delivery can be
repaired. Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from feature_assets.data.declaration import Reference, Table
from feature_assets.data.records import DROPPED, POSITION, UNKNOWN, Fault, without

UNSEEN = "\ufeff\u200b\u2060\u00ad"  # characters of no width
FORMS: tuple[tuple[str, Callable[[pl.Expr], pl.Expr]], ...] = (
    ("trimming", lambda key: key.str.strip_chars().str.strip_chars(UNSEEN).str.strip_chars()),
    ("trimming and case folding", lambda key: key.str.to_uppercase()),
    ("trimming, case folding and Unicode normalisation", lambda key: key.str.normalize("NFKC").str.to_uppercase()),
    ("leaving out leading zeros or a final .0", lambda key: key.str.replace(r"\.0$", "").str.strip_chars_start("0")),
)
"""What may be done to a key → how; each is done after the ones before it."""


def refer(
    table: Table,
    rows: pl.DataFrame,
    reference: Reference,
    target: pl.DataFrame,
    lost: pl.DataFrame | None = None,
    zone: str = "UTC",
) -> tuple[pl.DataFrame, list[Fault]]:
    """Set aside, or keep without the column, the rows that point at nothing or too early. A missing value points
    nowhere.

    Args:
        rows: rows of `table`, with their positions.
        target: good rows of the table that is referred to.
        lost: key columns of its rows that were set aside.
        zone: of local days, for `Reference.since`.
    """
    on = list(reference.columns)
    pointing = rows.select(POSITION, *on).drop_nulls()
    unknown = pointing.join(target.select(on).unique(), on=on, how="anti", maintain_order="left")
    reason = f"{table.name}.{'+'.join(on)}: {reference.reason}"
    told = _told(unknown, on, target, lost, reference.table) if unknown.height else []
    found = [(positions, f"{reason}{words}") for positions, words in told]
    found += _too_early(table, rows, reference, target, zone)
    if reference.keep_without is None:
        faults = [(positions, words, DROPPED) for positions, words in found]
        return without(rows, faults), faults
    flag = f"{reference.keep_without}{UNKNOWN}"
    lacking = pl.concat([unknown[POSITION], *(positions for positions, _ in found)])
    marked = rows.with_columns(pl.col(POSITION).is_in(lacking.implode()).alias(flag))
    return marked, [(positions, words, f"kept without {reference.keep_without}") for positions, words in found]


def _told(
    unknown: pl.DataFrame, on: list[str], target: pl.DataFrame, lost: pl.DataFrame | None, of: str
) -> list[tuple[pl.Series, str]]:
    """Positions of unknown keys, by what is said of them."""
    told: list[tuple[pl.Series, str]] = []

    def say(words: str, rows: pl.DataFrame) -> pl.DataFrame:
        if rows.height:
            told.append((rows[POSITION], words))
        return unknown.filter(~pl.col(POSITION).is_in(rows[POSITION].implode()))

    if lost is not None and set(on) <= set(lost.columns):
        known = unknown.join(lost.select(on).unique(), on=on, how="semi")
        unknown = say(f", because its row in table {of} was set aside", known)
    texts = [name for name in on if unknown.schema[name] == pl.String]
    if texts:
        ours, theirs = unknown, target.select(on).unique()
        for words, form in FORMS:
            if unknown.is_empty():
                break
            changed = [form(pl.col(name)) for name in texts]
            ours, theirs = ours.with_columns(changed), theirs.with_columns(changed)
            ours = ours.join(unknown.select(POSITION), on=POSITION, how="semi")
            unknown = say(f", but equal to a known one after {words}", ours.join(theirs, on=on, how="semi"))
    say("", unknown)
    return told


def _too_early(
    table: Table, rows: pl.DataFrame, reference: Reference, target: pl.DataFrame, zone: str
) -> list[tuple[pl.Series, str]]:
    """Positions of rows that happened before what they point at."""
    if reference.since is None or table.instant is None:
        return []
    on, since = list(reference.columns), reference.since
    timed = rows if reference.at_any_time is None else rows.filter(~reference.at_any_time)
    day = local_day(timed, table.instant, zone)
    pointing = timed.select(POSITION, *on, day.alias("day")).drop_nulls()
    early = pointing.join(target.select(*on, since), on=on, how="inner").filter(pl.col("day") < pl.col(since))[POSITION]
    words = f"{table.name}.{table.instant} is before {since} of its row in table {reference.table}"
    return [(early.unique().sort(), words)] if len(early) else []


def local_day(rows: pl.DataFrame, instant: str, zone: str) -> pl.Expr:
    """The local day of a column of instants (naive in UTC, or with a zone) or days."""
    dtype, column = rows.schema[instant], pl.col(instant)
    if dtype == pl.Date:
        return column
    utc = column if dtype.time_zone else column.dt.replace_time_zone("UTC")  # type: ignore[attr-defined]
    return utc.dt.convert_time_zone(zone).dt.date()
