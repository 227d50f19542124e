"""A delivery of more customers than one wants in memory: validated and mapped a block of customers at a time.

Tables of things, and the customers, are validated whole, since anything may refer to them. Of the events each block
holds the rows of a range of customer ids, so that the blocks, one below the other, stand in the order of the whole.
What a row is worth depends on rows of other customers in one way only: a key without the customer in it, which two of
them may have. Those are looked for beforehand. Source: DATA §1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl

from feature_assets.data.agreement import agree
from feature_assets.data.blocks import ID, Block, blocks_among
from feature_assets.data.declaration import Table
from feature_assets.data.quarantine import Validated
from feature_assets.data.records import counts_of
from feature_assets.data.tables import CUSTOMERS, StoredTables, Tables
from feature_assets.sources.delivery import Delivery, Ingested
from feature_assets.sources.files import collect
from feature_assets.sources.reader import Reader, released, require_good, require_protected, without_rows

_COUNTED = re.compile(r"(.*) in ([\d,]+) rows")
"""A note that ends with a number of rows."""


def ingest_in_blocks(
    reader: Reader, delivery: Delivery, at_a_time: int, folder: Path, now: datetime | None = None
) -> Ingested[StoredTables]:
    """What `reader.ingest` gives, with the tables in files of `folder`.

    Args:
        reader: one whose events have the column customer_id.
        delivery: opened.
        at_a_time: customers of a block.
        folder: empty; must stay until the tables are saved elsewhere.
        now: events from this instant on are in the future (default: the current instant).

    Raises:
        DeliveryError: as `ingest`.
    """
    dataset, notes, told = delivery.dataset, list(delivery.notes), list[str]()
    declared = reader.declared(delivery)
    events = [table for table in declared if table.of_customers and _has_rows(table, delivery)]
    known = reader.validated([table for table in declared if not table.of_customers], delivery, notes, now=now)
    everybody, things = known[CUSTOMERS], {name: found for name, found in known.items() if name != CUSTOMERS}
    stored = StoredTables(dataset, folder)
    stored.add(Tables(dataset, reader.to_contract({name: found.good for name, found in things.items()}, delivery)))
    blocks = blocks_among(everybody.good[ID].sort(), at_a_time)
    rivals = {table.name: _rivals(reader, table, delivery, blocks, now) for table in events}
    totals, kept = {CUSTOMERS: _without_records(everybody)}, Counter[str]()
    for block in blocks:
        part = replace(delivery, frames={table.name: block.of(delivery.frames[table.name]) for table in events})
        found = reader.validated(events, part, told, known=known, rivals=rivals, whole=False, now=now)
        found = agree(declared, {CUSTOMERS: _own(everybody, block), **found}, dataset.zone)
        contract = reader.to_contract({name: own.good for name, own in found.items()}, delivery)
        require_protected(dataset, contract[CUSTOMERS].columns)
        stored.add(Tables(dataset, contract))
        for name, own in found.items():
            totals[name] = _added(totals[name], own) if name in totals else released(own)
            kept[name] += own.good.height
    notes += _added_up(told)
    validated = things | {name: replace(total, counts=counts_of(total.quarantine)) for name, total in totals.items()}
    for table in declared:
        if table.name not in validated:
            notes.append(without_rows(table, delivery))
        elif table.name in totals:
            require_good(table, validated[table.name], kept[table.name])
    ordered = {table.name: released(validated[table.name]) for table in declared if table.name in validated}
    dataset, more = reader.described(dataset, ordered, stored.scans())
    return Ingested(replace(stored, dataset=dataset), ordered, (*notes, *more))


def _has_rows(table: Table, delivery: Delivery) -> bool:
    rows = delivery.frames[table.name].select(pl.len())
    return bool(collect(table.name, delivery.place(table.name), rows, streaming=True).item())


def _rivals(
    reader: Reader, table: Table, delivery: Delivery, blocks: Sequence[Block], now: datetime | None
) -> pl.DataFrame | None:
    """Keys with different contents in several blocks, of a table whose key does not name the customer."""
    key, rows = list(table.key), delivery.frames[table.name]
    if len(blocks) == 1 or not key or ID in key or not {*key, ID} <= {*rows.collect_schema()}:
        return None
    customer = pl.col(ID).cast(pl.String).fill_null("")
    number = pl.sum_horizontal([customer >= pl.lit(block.first) for block in blocks[1:]]).alias("block")
    placed = rows.select(*key, number).drop_nulls(key).with_columns(bucket=pl.struct(key).hash() % len(blocks))
    several = []
    for bucket in range(len(blocks)):  # as many keys at a time as a block has
        found = placed.filter(pl.col("bucket") == bucket).group_by(key)
        ends = found.agg(first=pl.col("block").min(), last=pl.col("block").max())
        twice = ends.filter(pl.col("first") != pl.col("last")).select(key)
        several.append(collect(table.name, delivery.place(table.name), twice, streaming=True))
    keys = pl.concat(several)
    if keys.is_empty():
        return None
    suspects = replace(delivery, frames={table.name: rows.join(keys.lazy(), on=key, how="semi")})
    judged = reader.validated([table], suspects, [], whole=False, now=now)[table.name]
    return judged.lost.unique().join(judged.good, on=key, how="anti")


def _own(everybody: Validated, block: Block) -> Validated:
    """The customers of a block, with the records of theirs that were set aside."""
    named = everybody.quarantine.with_columns(pl.col("key").str.strip_prefix(f"{ID}=").alias(ID))
    good, lost, records = (block.of(rows.lazy()).collect() for rows in (everybody.good, everybody.lost, named))
    quarantine = records.drop(ID)
    return replace(everybody, good=good, lost=lost, quarantine=quarantine, delivered=0, dropped=0)


def _without_records(result: Validated) -> Validated:
    return replace(released(result), quarantine=result.quarantine.clear())


def _added(total: Validated, own: Validated) -> Validated:
    return replace(
        total,
        quarantine=pl.concat([total.quarantine, own.quarantine]),
        delivered=total.delivered + own.delivered,
        dropped=total.dropped + own.dropped,
    )


def _added_up(notes: Iterable[str]) -> list[str]:
    """Each note once; those that end with a number of rows, with the rows of all."""
    rows: dict[str, int | None] = {}
    for note in notes:
        counted = _COUNTED.fullmatch(note)
        words = counted.group(1) if counted else note
        rows[words] = (rows.get(words) or 0) + int(counted.group(2).replace(",", "")) if counted else None
    return [words if count is None else f"{words} in {count:,} rows" for words, count in rows.items()]
