"""What tables say of each other once all of them are read: the day on which a customer appears, told by their events.

`joined_on` means the day of a customer's first event, so a later one, one in the future, a sentinel and a missing one
are all contradicted by an event that only the customer can have caused (`Table.own`): its local day takes the place.
Nothing after that day is used, so no as-of date sees more than was known. A customer whose day is in doubt and who has
no such event is set aside. Rules that a single row breaks belong to `quarantine.py`. Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import polars as pl

from feature_assets.data.declaration import Table
from feature_assets.data.quarantine import Validated, told_action
from feature_assets.data.records import DROPPED, POSITION, Fault, counts_of, key_text, records
from feature_assets.data.references import local_day, refer

Results = Mapping[str, Validated]
FIRST = "first_event"


def agree(tables: Iterable[Table], results: Results, zone: str) -> dict[str, Validated]:
    """The validated tables, where the values that events tell are those of the events; each change has its record.

    Args:
        tables: the declarations of `results`, in the order of their references.
        results: table → its validation result.
        zone: of local days.
    """
    declared = {table.name: table for table in tables if table.name in results}
    agreed = dict(results)
    for name, table in declared.items():
        if table.told_by_events is not None:
            pointing = [
                t for t in declared.values() if any(r.table == name and r.columns == table.key for r in t.references)
            ]
            agreed[name] = _told(table, table.told_by_events, agreed, pointing, zone)
            if agreed[name].good.height < results[name].good.height:
                agreed |= {t.name: _still_pointing(t, name, agreed, zone) for t in pointing}
    return agreed


def _told(table: Table, column: str, results: Results, pointing: Iterable[Table], zone: str) -> Validated:
    """A table with its column as the first own events tell it, without the rows that remain without a value."""
    result = results[table.name]
    first = _first_events(table.key, [(t, results[t.name].good) for t in pointing if t.instant is not None], zone)
    rows = result.good.with_row_index(POSITION).join(first, on=table.key, how="left", maintain_order="left")
    late = rows.filter(pl.col(column) > pl.col(FIRST))[POSITION]
    lacking = rows.filter(pl.col(column).is_null() & pl.col(FIRST).is_null())
    reason = f"{table.name}.{column} is after the first event of its row in {', '.join(t.name for t in pointing)}"
    added = records(table, result.good, [(late, reason, told_action(column))] if len(late) else [])
    gone = lacking.select(key_text(table)).to_series()
    doubted = (pl.col("action") == told_action(column)) & pl.col("key").is_in(gone.implode())
    before = result.quarantine.with_columns(pl.when(doubted).then(pl.lit(DROPPED)).otherwise("action").alias("action"))
    quarantine = pl.concat([before, added])
    kept = rows.with_columns(pl.min_horizontal(column, FIRST).alias(column)).filter(pl.col(column).is_not_null())
    return replace(
        result,
        good=kept.select(result.good.columns),
        quarantine=quarantine,
        counts=counts_of(quarantine),
        dropped=result.dropped + lacking.height,
        lost=pl.concat([result.lost, lacking.select(table.key)]),
    )


def _first_events(key: tuple[str, ...], events: list[tuple[Table, pl.DataFrame]], zone: str) -> pl.DataFrame:
    """Key and `first_event`, the local day of the first row that only the customer can have caused."""
    days = [
        rows.select(*key, local_day(rows, str(table.instant), zone).alias(FIRST))
        for table, frame in events
        if (rows := frame if table.own is None else frame.filter(table.own)).height
    ]
    if not days:
        return pl.DataFrame(schema={**dict.fromkeys(key, pl.String), FIRST: pl.Date})
    return pl.concat(days).group_by(key).agg(pl.col(FIRST).min())


def _still_pointing(table: Table, of: str, results: Results, zone: str) -> Validated:
    """A table without the rows that point at rows of another one which are no longer there."""
    result, target = results[table.name], results[of]
    rows = result.good.with_row_index(POSITION)
    faults: list[Fault] = []
    for reference in table.references:
        if reference.table == of and reference.keep_without is None:
            rows, more = refer(table, rows, replace(reference, since=None), target.good, target.lost, zone)
            faults += more
    quarantine = pl.concat([result.quarantine, records(table, result.good, faults)])
    return replace(
        result,
        good=rows.drop(POSITION),
        quarantine=quarantine,
        counts=counts_of(quarantine),
        dropped=result.dropped + sum(len(at) for at, *_ in faults),
    )
