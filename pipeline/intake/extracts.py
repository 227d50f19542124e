"""What a night reads from the user's databases: a delivery of its own, kept until the ledger of arrivals has it.

    lake/extracts/<data set>/arrived_on=<as-of date>/  .database/<table>.parquet: rows as text; read.json: which;
                                                       and the files of tables that lie beside the databases

A night reads rows of the days that no earlier one read, and once more those of `reread_days` before; a table without
`since` is read whole. How far earlier nights read stands in the notes of their arrivals, and nowhere else. An extract
is published by one rename: a night that was killed afterwards goes on with it, one before begins it anew. All tables of
a database are read in one transaction. How a database is asked belongs to `source_database.py`. Source: DATA §1,
docs/decisions/0015.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from feature_assets.closed import nearest
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.database import DatabaseTable
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.local_time import today
from feature_assets.data.mapping import TableMapping
from feature_assets.sources.arrivals import ARRIVED
from feature_assets.sources.own.mapped import read_column
from feature_assets.sources.own.places import Files, extract_file
from feature_assets.sources.own.values import Values
from pipeline.intake.arrivals import READ, Ledger
from pipeline.intake.forgotten import CUSTOMER_COLUMNS
from pipeline.intake.inbox import inbox_of, last_day
from pipeline.intake.source_database import Source, reading
from pipeline.resources.digests import broken, seal
from pipeline.resources.files import discard, empty_beside, make_folder, publish_folder, publish_json
from pipeline.resources.lake import Lake

Log = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What is read for a table. Rows that an extract of another table, or without a column, brought are no part of it.

    Attributes:
        place: host, port and database.
        of: the table or the query.
        since: the column by which it is read day by day; None where it is read whole.
        columns: that are read.
    """

    place: str
    of: str
    since: str | None
    columns: tuple[str, ...]

    def goes_on(self, earlier: "Asked") -> bool:
        """Whether what was read earlier is the beginning of this."""
        same = (self.place, self.of, self.since) == (earlier.place, earlier.of, earlier.since)
        return same and self.since is not None and set(self.columns) <= set(earlier.columns)


@contextmanager
def inbox(
    dataset: DatasetConfig, folder: Path | None, ledger: Ledger, lake: Lake, as_of: date, log: Log
) -> Iterator[Path]:
    """The inbox of a night: that of the deliveries, or with databases one that holds an extract, unless an earlier
    night read what there is to read. Afterwards the extract goes, as the ledger has it or refused it; what a kill or a
    full disk leaves, the next attempt goes on with.

    Args:
        folder: of the deliveries, or of tables that lie in files; None where the description names it.

    Raises:
        DeliveryError: there is no folder, or a database cannot be read; says where it is described and what to do.
    """
    if not dataset.databases:
        yield inbox_of(dataset, folder)
        return
    place = lake.path("extracts", dataset.name)
    make_folder(place)
    known = list(ledger.read())
    needed = as_of >= ledger.closed() and not any(entry.arrived_on == as_of for entry, _ in known)
    mine = place / f"{ARRIVED}={as_of}"
    _empty(place, mine if needed and _goes_on(mine, dataset) else None)
    if needed and not mine.exists():
        beside = empty_beside(mine)
        note = extract(dataset, folder, beside, as_of, [note for _, note in known], log)
        if any(rows["rows"] for rows in note["read"].values()):
            seal(beside)
            publish_folder(beside, mine)
        else:
            log("no row of a database is new")
            shutil.rmtree(beside)
    try:
        yield place
    except DeliveryError:
        _empty(place)
        raise
    _empty(place)


def _empty(place: Path, kept: Path | None = None) -> None:
    for each in place.glob(f"{ARRIVED}=*"):
        if each != kept:
            discard(each)


def whole(dataset: DatasetConfig, folder: Path | None, target: Path, log: Log) -> DatasetConfig:
    """Read everything into a folder, for a look at it; the description of what lies there, as one full delivery.

    Raises:
        DeliveryError: as `inbox`.
    """
    as_of = last_day(dataset, folder)
    extract(dataset, folder, target, as_of, [], log)
    return dataset.model_copy(update={"delivery": "full", "covers_until": as_of})


def extract(
    dataset: DatasetConfig,
    folder: Path | None,
    target: Path,
    as_of: date,
    earlier: Iterable[Mapping[str, Any]],
    log: Log,
) -> dict[str, Any]:
    """Read the databases of a data set up to an as-of date, and copy the files that lie beside them.

    Args:
        target: folder that gets both, and the note.
        earlier: notes of what was read before, newest first.

    Returns:
        The note. `asked`: table → what was asked; `read`: table → its rows, the days, and the day up to which nothing
        but late rows can be missing.
    """
    earlier = list(earlier)
    asked = _asked(dataset)
    read: dict[str, dict[str, Any]] = {}
    described = sorted(dataset.databases.items(), key=lambda item: item[1].url)
    for _, group in groupby(described, key=lambda item: item[1].url):
        tables = list(group)
        name, database = tables[0]
        with reading(database, dataset.at("tables", name, "database")) as source:
            for name, database in tables:
                after = _after(name, asked[name], database, earlier)
                read[name] = _table(source, name, database, dataset, target, (after, as_of), log)
    _copy_files(dataset, folder, target)
    note = {"asked": {name: asdict(each) for name, each in asked.items()}, "read": read}
    publish_json(note, target / READ)
    return note


def _asked(dataset: DatasetConfig) -> dict[str, Asked]:
    found = {}
    for name, database in dataset.databases.items():
        parts = [dataset.tables[name], *(table for table in dataset.tables.values() if table.rows_of == name)]
        columns = dict.fromkeys(column for part in parts for column in part.needs)
        of = database.table or str(database.query)
        found[name] = Asked(database.place, of, database.since, tuple(columns))
    return found


def _goes_on(folder: Path, dataset: DatasetConfig) -> bool:
    """Whether an extract is whole and what the description asks for."""
    if broken(folder):
        return False
    asked = {name: asdict(each) for name, each in _asked(dataset).items()}
    return bool(json.loads((folder / READ).read_text())["asked"] == json.loads(json.dumps(asked)))


def _after(name: str, asked: Asked, database: DatabaseTable, earlier: Iterable[Mapping[str, Any]]) -> date | None:
    """The day from which on a table is read; None for all."""
    note = next((note for note in earlier if name in note["asked"]), None)
    if note is None:
        return None
    before = Asked(**note["asked"][name] | {"columns": tuple(note["asked"][name]["columns"])})
    if not asked.goes_on(before):
        return None
    return date.fromisoformat(note["read"][name]["over"]) - timedelta(days=database.reread_days)


def _table(
    source: Source,
    name: str,
    database: DatabaseTable,
    dataset: DatasetConfig,
    target: Path,
    days: tuple[date | None, date],
    log: Log,
) -> dict[str, Any]:
    """Read one table into its file, in batches; what of it."""
    after, as_of = days
    mapping = dataset.tables[name]
    at = dataset.at("tables", name, "database", "table" if database.table else "query")
    since = dataset.at("tables", name, "database", "since")
    columns = _columns(source, name, database, dataset, at, since)
    zones = dataset.zone, _own_zone(mapping, database.since) or dataset.zone
    bounds = source.bounds(database, after, as_of, zones, since)
    file = extract_file(target, name)
    rows = _write(source.rows(database, columns, bounds, at), columns, file, name, mapping)
    what = database.table or "its query"
    words = f"table {name}: read {rows:,} rows of {what} ({database.place})"
    if database.since is not None:
        words += f", {database.since} {f'from {after} on and ' if after else ''}before {as_of}"
    log(words)
    if database.since is not None and after is None and (without := source.without(database, at)):
        log(f"table {name}: {without:,} rows of {what} have no {database.since} and are never read")
    over = min(as_of, today(dataset.zone, source.now))
    return {"rows": rows, "after": str(after) if after else None, "before": str(as_of), "over": str(over)}


def _columns(
    source: Source, name: str, database: DatabaseTable, dataset: DatasetConfig, at: str, since: str
) -> list[str]:
    """The columns to read: those that the description needs, without those that may be missing and are.

    Raises:
        DeliveryError: one is missing; names the nearest.
    """
    there = source.columns(database, at)
    if database.since is not None and database.since not in there:
        raise DeliveryError(
            f"{since}: {database.table or 'the query'} has no column {database.since!r}: "
            f"{nearest(database.since, there)}"
        )
    parts = {n: table for n, table in dataset.tables.items() if n == name or table.rows_of == name}
    for part, mapping in parts.items():
        for column in mapping.needs:
            if column not in there and column not in mapping.may_lack:
                keys = next(((c,) for c, how in mapping.columns.items() if column in how.columns), ())
                place = dataset.at("tables", part, *(("columns", *keys) if keys else ()))
                what = database.table or "the query"
                raise DeliveryError(f"{place}: {what} has no column {column!r}: {nearest(column, there)}")
    return [column for column in _asked(dataset)[name].columns if column in there]


def _own_zone(mapping: TableMapping, column: str | None) -> str | None:
    return next((how.zone for how in mapping.columns.values() if how.column == column and how.zone), None)


def _write(
    batches: Iterator[list[tuple[str | None, ...]]], columns: list[str], file: Path, name: str, mapping: TableMapping
) -> int:
    """Write rows as they come, beside those of the database a column by which `ple forget` finds a customer's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whose = _whose(columns, name, mapping)
    schema = dict.fromkeys(columns, pl.String)
    empty = pl.DataFrame(schema=schema).with_columns(whose).to_arrow()
    rows = 0
    with pq.ParquetWriter(file, empty.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pl.DataFrame(batch, schema=schema, orient="row").with_columns(whose).to_arrow())
            rows += len(batch)
    return rows


def _whose(columns: list[str], name: str, mapping: TableMapping) -> list[pl.Expr]:
    how = mapping.columns.get("customer_id")
    if how is None or how.column is None or how.column in CUSTOMER_COLUMNS or how.column not in columns:
        return []
    called = next(column for column in CUSTOMER_COLUMNS if column not in columns)
    values = Values(dict.fromkeys(columns, pl.String()), mapping.text, "UTC")
    return [read_column(name, "customer_id", how, values)[0].value.alias(called)]


def _copy_files(dataset: DatasetConfig, folder: Path | None, target: Path) -> None:
    """The files of tables that lie beside the databases, whole every night.

    Raises:
        DeliveryError: there are none, or they lie elsewhere.
    """
    root = folder or dataset.folder or Path()
    for name, mapping in dataset.tables.items():
        if mapping.files is None:
            continue
        place = Files(CONTRACT[name].delivered, mapping.files, root, mapping.text)
        found = place.files()
        if not found:
            raise DeliveryError(place.nothing())
        for file in found:
            if not file.is_relative_to(root):
                raise DeliveryError(f"table {name}: {file} lies outside of {root}: name files inside of it")
            copy = target / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
