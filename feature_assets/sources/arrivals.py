"""Deliveries that add up: the rows of one arrival against what was known before, and all arrivals as one delivery.

Frames to frames: where arrivals lie, and which of them a night reads, belongs to `pipeline/intake/arrivals.py`.
Source: docs/decisions/0015.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.data.quarantine import Validated, validate
from feature_assets.data.records import COLLAPSED, ReasonCount
from feature_assets.data.tables import Tables
from feature_assets.sources.delivery import Delivery, Ingested
from feature_assets.sources.reader import Frames, Reader

COUNTED = ("delivered", "new", "corrected", "repeated", "late", "set aside", "copies")
"""Rows of a table of an arrival. delivered = new + corrected + repeated + set aside + copies (exact ones within the
arrival); late are those of the new ones that a night of an earlier arrival would have seen."""
COUNTS_SCHEMA = {"table": pl.String, **dict.fromkeys(COUNTED, pl.Int64)}
ARRIVED = "arrived_on"
"""Column of the quarantine of an arrival, and start of the name of its folder."""
_CHUNK = 100_000  # rows that are text at a time


@dataclass(frozen=True)
class Arrival:
    """One delivery of a data set whose deliveries add up, after it met the earlier ones.

    Attributes:
        arrived_on: its rows are known from this as-of date on.
        digest: of its rows, good and bad, in whatever files and order they came.
        repeats: the day of the earlier arrival that held the same rows; None where it is the first with them.
        versions: delivered table → new and corrected rows in declared types, of the columns that were delivered.
        counts: a row a delivered table (`COUNTS_SCHEMA`).
        aside: delivered table → rows that are bad in themselves, with reasons and counts; its good rows are released.
    """

    arrived_on: date
    digest: str
    repeats: date | None
    versions: dict[str, pl.DataFrame] = field(repr=False)
    counts: pl.DataFrame = field(repr=False)
    aside: dict[str, Validated] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def tells(self) -> bool:
        """Whether it changes a row or sets one aside that no earlier arrival did."""
        return self.repeats is None and any(
            self.counts[column].sum() > 0 for column in ("new", "corrected", "set aside", "copies")
        )


@dataclass(frozen=True)
class Checked:
    """The rows of an arrival, each judged by itself.

    Attributes:
        tables: the declarations of the delivered tables.
        validated: delivered table → its validation result, without references.
        columns: delivered table → the declared columns that it has.
    """

    tables: dict[str, Table]
    validated: dict[str, Validated]
    columns: dict[str, list[str]]


def stack(arrivals: Iterable[Arrival]) -> dict[str, pl.DataFrame]:
    """Delivered table → every version of every row, in the order of arrival."""
    parts: dict[str, list[pl.DataFrame]] = {}
    for arrival in arrivals:
        for name, frame in arrival.versions.items():
            parts.setdefault(name, []).append(frame)
    return {name: pl.concat(frames, how="diagonal") for name, frames in parts.items()}


def latest(table: Table, versions: pl.DataFrame) -> pl.DataFrame:
    """The last version of each row."""
    return versions.unique(subset=identity(table, versions.columns), keep="last", maintain_order=True)


def identity(table: Table, columns: Sequence[str]) -> list[str]:
    """The columns by which a row of a later arrival is recognised: the key, or without one every column."""
    return list(table.key) or list(columns)


def check(reader: Reader, delivery: Delivery, arrived_on: date) -> Checked:
    """Judge each row of a delivery by itself: type, ranges, times, copies and conflicts within the delivery.

    Raises:
        DeliveryError: a column is missing or of a wrong type, a file is damaged, or no table holds a row.
    """
    dataset, now = _at(delivery.dataset, arrived_on)
    tables: dict[str, Table] = {}
    validated: dict[str, Validated] = {}
    columns: dict[str, list[str]] = {}
    for table in reader.declared(delivery):
        rows = reader.rows(table, delivery, {})
        if rows.delivered:
            tables[table.name] = table
            validated[table.name] = validate(table, rows.frame, dataset, {}, unread=rows.unread, now=now)
            schema = delivery.frames[table.name].collect_schema()
            columns[table.name] = [column for column in table.types if column in schema]
    if not validated:
        raise DeliveryError(f"the delivery of {arrived_on} holds no row of any table ({_found(delivery)}).")
    return Checked(tables, validated, columns)


def _at(dataset: DatasetConfig, arrived_on: date) -> tuple[DatasetConfig, datetime]:
    """The description for an arrival, and the instant at which the future begins: the end of the day of arrival."""
    tomorrow = arrived_on + timedelta(days=1)
    return dataset.model_copy(update={"covers_until": tomorrow}), dataset.instant(tomorrow)


def _found(delivery: Delivery) -> str:
    return ", ".join(str(path) for path in list(delivery.files.values())[:3]) or "no file of a table was found"


def resolved(checked: Checked, dataset: DatasetConfig, arrived_on: date, before: Frames) -> Ingested:
    """The arrival with its references resolved over all that is known by then, for its limits to be checked. No tables.

    Args:
        before: `stack` of the earlier arrivals.
    """
    described, now = _at(dataset, arrived_on)
    targets: dict[str, pl.DataFrame] = dict(before)
    found: dict[str, Validated] = {}
    for name, table in checked.tables.items():
        alone = checked.validated[name]
        pointing = validate(table, alone.good, described, targets, now=now)
        targets[name] = pl.concat([before[name], pointing.good] if name in before else [pointing.good], how="diagonal")
        found[name] = _together([alone, pointing], alone.delivered)
    return Ingested(Tables(described, {}, presorted=True), found)


def _together(parts: Sequence[Validated], delivered: int) -> Validated:
    """The faults of rows by themselves and those of their references as one result."""
    counts: dict[tuple[str, str], ReasonCount] = {}
    for count in (count for part in parts for count in part.counts):
        same = counts.get((count.reason, count.action))
        counts[count.reason, count.action] = replace(same, rows=same.rows + count.rows) if same else count
    return replace(
        parts[-1],
        quarantine=pl.concat([part.quarantine for part in parts], how="diagonal"),
        counts=tuple(sorted(counts.values(), key=lambda c: (-c.rows, c.reason))),
        delivered=delivered,
        dropped=sum(part.dropped for part in parts),
    )


def meet(
    checked: Checked, dataset: DatasetConfig, arrived_on: date, earlier: Sequence[Arrival], before: Frames
) -> Arrival:
    """Compare an arrival with what is known: the rows that it changes, and how many it tells again.

    Args:
        earlier: the arrivals before it, in their order.
        before: `stack` of them.

    Raises:
        DeliveryError: a table lacks a column that it had before.
    """
    digest = _digest(checked)
    same = [arrival.arrived_on for arrival in earlier if arrival.digest == digest]
    previous = max((arrival.arrived_on for arrival in earlier if arrival.arrived_on < arrived_on), default=None)
    versions: dict[str, pl.DataFrame] = {}
    counts = []
    for name, table in checked.tables.items():
        result = checked.validated[name]
        rows = result.good.select(checked.columns[name])
        known = before.get(name)
        if known is not None:
            _require_same_columns(name, rows.columns, known.columns, arrived_on)
        new, corrected = _compare(table, rows, known)
        late = _late(table, rows.filter(new), dataset, previous)
        versions[name] = rows.filter(new | corrected)
        copies = sum(count.rows for count in result.counts if count.action == COLLAPSED)
        told = (result.delivered, new.sum(), corrected.sum(), rows.height - versions[name].height, late)
        counts.append((name, *told, result.dropped, copies))
    frame = pl.DataFrame(counts, schema=COUNTS_SCHEMA, orient="row")
    versions = {name: rows for name, rows in versions.items() if rows.height}
    notes = tuple(note for result in checked.validated.values() for note in result.notes)
    repeats = same[0] if same else None
    arrival = Arrival(arrived_on, digest, repeats, versions, frame, _marked(checked, arrived_on), notes)
    return again(arrival) if same else arrival


def again(arrival: Arrival) -> Arrival:
    """The arrival as one that tells nothing: it was delivered before."""
    counts = arrival.counts
    differ = int(counts.select((pl.col("new") + pl.col("corrected")).sum()).item())
    known = pl.col("repeated") + pl.col("new") + pl.col("corrected")
    none = [pl.lit(0, pl.Int64).alias(column) for column in ("new", "corrected", "late")]
    words = f"the delivery of {arrival.arrived_on} holds exactly the rows of that of {arrival.repeats}: delivered twice"
    words += f"; {differ:,} of its rows were corrected in between and stay so" if differ else ""
    counts = counts.with_columns(known.alias("repeated"), *none)
    return replace(arrival, versions={}, counts=counts, aside={}, notes=(words,))


def _marked(checked: Checked, arrived_on: date) -> dict[str, Validated]:
    """The results without their good rows; the quarantine says when its rows arrived."""
    return {
        name: replace(
            result,
            good=result.good.clear(),
            quarantine=result.quarantine.with_columns(pl.lit(arrived_on).alias(ARRIVED)),
        )
        for name, result in checked.validated.items()
    }


def _require_same_columns(name: str, columns: Collection[str], known: Collection[str], arrived_on: date) -> None:
    lost = [column for column in known if column not in columns]
    if lost:
        raise DeliveryError(
            f"table {name}: the delivery of {arrived_on} lacks {', '.join(lost)}, which earlier deliveries had. "
            f"Deliver the column{'s' if len(lost) > 1 else ''}, empty where nothing is known."
        )


def _compare(table: Table, rows: pl.DataFrame, known: pl.DataFrame | None) -> tuple[pl.Series, pl.Series]:
    """Whether each row is new, and whether it corrects the version of its key that holds (Boolean [rows] each)."""
    if known is None:
        return pl.repeat(True, rows.height, eager=True), pl.repeat(False, rows.height, eager=True)
    known = known.with_columns(pl.lit(None, dtype).alias(c) for c, dtype in rows.schema.items() if c not in known)
    on = identity(table, rows.columns)
    values = [column for column in rows.columns if column not in on]
    holding = latest(table, known.select(rows.columns).join(rows, on=on, how="semi", nulls_equal=True))
    holding = holding.select(*on, *(pl.col(c).alias(f"{c}__known") for c in values), is_known=True)
    met = rows.join(holding, on=on, how="left", nulls_equal=True, maintain_order="left")
    new = met["is_known"].is_null()
    differs = [pl.col(c).ne_missing(pl.col(f"{c}__known")) for c in values]
    differ = met.select(pl.any_horizontal(differs)).to_series() if differs else pl.repeat(False, met.height, eager=True)
    return new, differ & ~new


def _late(table: Table, new: pl.DataFrame, dataset: DatasetConfig, previous: date | None) -> int:
    """How many of the new rows the night of an earlier arrival would have seen, had they arrived in time."""
    if table.instant is None or previous is None:
        return 0
    times = new[table.instant]
    limit = previous if times.dtype == pl.Date else dataset.instant(previous).replace(tzinfo=None)
    return int((times < limit).sum())


def _digest(checked: Checked) -> str:
    """SHA-256 of the rows as text, in the order of their values."""
    sha = hashlib.sha256()
    for name in sorted(checked.validated):
        result = checked.validated[name]
        for frame in (result.good.select(checked.columns[name]), result.quarantine):
            sha.update(f"{name} {frame.columns} {frame.height}\n".encode())
            for part in frame.sort(frame.columns, nulls_last=True).iter_slices(_CHUNK):
                sha.update(part.write_csv(include_header=False).encode())
    return sha.hexdigest()


def merge(reader: Reader, dataset: DatasetConfig, arrivals: Sequence[Arrival], files: Mapping[str, Path]) -> Ingested:
    """What is known once the last of the arrivals is in: contract tables of the last version of each row.

    The quarantine holds the rows that are bad in themselves, with their day of arrival, and those of the merged tables
    that point at nothing.

    Args:
        arrivals: at least one, in their order.
        files: `<table>/…` → file, for messages.

    Raises:
        DeliveryError: no row of a required table has arrived, or none of them can be used.
    """
    last = arrivals[-1].arrived_on
    described, now = _at(dataset, last)
    frames = stack(arrivals)
    declared = reader.declared(Delivery(described, {}, {name: frame.lazy() for name, frame in frames.items()}))
    known = {table.name: latest(table, frames[table.name]).lazy() for table in declared}
    absent = [name for name in reader.tables if name not in known]
    missing = [name for name in absent if reader.tables[name].required]
    if missing:
        raise DeliveryError(f"no row of {', '.join(missing)} has arrived by {last}: deliver at least one day of each.")
    notes = tuple(f"table {name} was not delivered" for name in absent)
    ingested = reader.ingest(Delivery(described, dict(files), known, notes), now)
    own = ingested.tables.dataset.model_copy(update={"covers_until": last})
    found = {}
    for name in reader.tables:
        alone = [arrival.aside[name] for arrival in arrivals if name in arrival.aside]
        pointing = [replace(v, quarantine=_unmarked(v)) for n, v in ingested.validated.items() if n == name]
        if alone:
            found[name] = _together([*alone, *pointing], sum(part.delivered for part in alone))
    tables = replace(ingested.tables, dataset=own, presorted=True)
    return Ingested(tables, found, ingested.notes)


def _unmarked(result: Validated) -> pl.DataFrame:
    """The quarantine of merged rows: which arrival they came with is not told."""
    return result.quarantine.with_columns(pl.lit(None, pl.Date).alias(ARRIVED))
