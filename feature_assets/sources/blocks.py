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
from feature_assets.sources.files import collect, unreadable
from feature_assets.sources.reader import Reader, released, require_good, require_protected, without_rows

BLOCK = "block_of_the_row"
KEYS_AT_A_TIME = 100_000_000
"""Events whose keys are compared at once (1.6 GB with what sorts them)."""
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
    stored = StoredTables(dataset, folder / "tables")
    stored.add(Tables(dataset, reader.to_contract({name: found.good for name, found in things.items()}, delivery)))
    blocks = blocks_among(everybody.good[ID].sort(), at_a_time)
    parts = {table.name: _apart(table, delivery, blocks, folder / "delivered") for table in events}
    rivals = {table.name: _rivals(reader, table, delivery, parts[table.name], now) for table in events}
    totals, kept = {CUSTOMERS: _without_records(everybody)}, Counter[str]()

    def ingest_block(number: int, block: Block) -> None:  # nothing of it stays in memory
        part = replace(delivery, frames={name: frames[number] for name, frames in parts.items()})
        found = reader.validated(events, part, told, known=known, rivals=rivals, whole=False, now=now)
        found = agree(declared, {CUSTOMERS: _own(everybody, block), **found}, dataset.zone)
        contract = reader.to_contract({name: own.good for name, own in found.items()}, delivery)
        for name, own in found.items():
            totals[name] = _added(totals[name], own) if name in totals else released(own)
            kept[name] += own.good.height
        del found
        require_protected(dataset, contract[CUSTOMERS].columns)
        stored.add(Tables(dataset, contract))

    for number, block in enumerate(blocks):
        ingest_block(number, block)
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


def _apart(table: Table, delivery: Delivery, blocks: Sequence[Block], folder: Path) -> list[pl.LazyFrame]:
    """The delivered rows of each block, in files of their own: the delivery is read once, in any order of its rows."""
    rows = delivery.frames[table.name]
    schema = rows.collect_schema()
    if ID not in schema:
        return [rows] * len(blocks)  # which the reader refuses
    firsts = pl.Series([block.first for block in blocks[1:]], dtype=pl.String)

    def numbers(customers: pl.Series) -> pl.Series:
        return firsts.search_sorted(customers, side="right").cast(pl.UInt32)

    customer = pl.col(ID).cast(pl.String).fill_null("")
    number = customer.map_batches(numbers, return_dtype=pl.UInt32, is_elementwise=True)
    place = folder / table.name
    try:
        rows.with_columns(number.alias(BLOCK)).sink_parquet(
            pl.PartitionBy(place, key=BLOCK, include_key=False), compression="lz4", mkdir=True
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table.name, delivery.place(table.name), error) from error
    files = [sorted((place / f"{BLOCK}={block}").glob("*.parquet")) for block in range(len(blocks))]
    return [pl.scan_parquet(own, hive_partitioning=False) if own else pl.LazyFrame(schema=schema) for own in files]


def _rivals(
    reader: Reader, table: Table, delivery: Delivery, parts: Sequence[pl.LazyFrame], now: datetime | None
) -> pl.DataFrame | None:
    """Keys with different contents in several blocks, of a table whose key does not name the customer."""
    key = list(table.key)
    if len(parts) == 1 or not key or ID in key or not {*key, ID} <= {*parts[0].collect_schema()}:
        return None
    name = pl.struct(key).hash() if len(key) > 1 else pl.col(*key).hash()
    count = sum(rows.select(pl.len()).collect(engine="streaming").item() for rows in parts)
    rounds = -(-count // KEYS_AT_A_TIME)
    several = pl.concat([_several(parts, name, number, rounds) for number in range(rounds)])
    if several.is_empty():
        return None
    suspects = pl.concat([rows.filter(name.is_in(several.implode())) for rows in parts])
    judged = reader.validated([table], replace(delivery, frames={table.name: suspects}), [], whole=False, now=now)
    found = judged[table.name]
    return found.lost.unique().join(found.good, on=key, how="anti")


def _several(parts: Sequence[pl.LazyFrame], name: pl.Expr, number: int, rounds: int) -> pl.Series:
    """The hashes that occur in several blocks, of those that leave `number` when divided by `rounds`: eight bytes a key
    are in memory. Two keys of one hash are told apart later."""
    of_round = pl.col("hash") % rounds == number
    asked = [rows.select(name.alias("hash")).filter(of_round).unique() for rows in parts]
    hashes = pl.concat([rows.collect(engine="streaming").to_series() for rows in asked]).sort()
    return hashes.filter(hashes == hashes.shift()).unique()


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
