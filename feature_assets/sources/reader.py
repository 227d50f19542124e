"""One way to ingest for every source: open the files, validate table by table, map the good rows to the contract.

Here belong the base class of the readers and the loop that they share. The tables of a source and how they map to the
contract belong to its own file. Source: DATA §1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.agreement import agree
from feature_assets.data.coercion import DeliveryError, Wrong, require_columns
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.data.horizon import adapted
from feature_assets.data.local_time import local_day, wall_times
from feature_assets.data.quarantine import Validated, validate
from feature_assets.data.tables import Tables
from feature_assets.sources.delivery import Delivery, Ingested
from feature_assets.sources.files import collect

Frames = Mapping[str, pl.DataFrame]

QUIET_START = timedelta(days=7)
"""From so many days without a transaction at the beginning on, a note says so."""

NO_HOURS = (
    "no purchase has a time of day: the task timing is about weekdays only, and columns of the hours are left out, "
    "since they are the same for everybody"
)


@dataclass(frozen=True)
class Rows:
    """The rows of a delivered table that are worth reading, and how many were delivered.

    Attributes:
        unread: column → where its value could not be read (Boolean [N]) and why; "" → rows at fault as a whole.
        notes: what was left out before, in words.
    """

    frame: pl.DataFrame
    delivered: int
    unread: Mapping[str, Sequence[Wrong]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def expected(dataset: DatasetConfig, declared: Mapping[str, Table]) -> dict[str, Table]:
    """The declarations by which a delivery is opened: where deliveries add up, none of them must have a table."""
    if dataset.delivery == "full":
        return dict(declared)
    return {name: replace(table, required=False) for name, table in declared.items()}


class Reader(ABC):
    """Opens the deliveries of a source and maps them to contract tables.

    Attributes:
        tables: the tables that a delivery may have, in the order of their references.
        never: contract tables, and parts of them, that no delivery of the source can fill.
        in_blocks: whether a delivery can be read a block of customers at a time (`blocks.py`).
    """

    tables: Mapping[str, Table]
    never: frozenset[str] = frozenset()
    in_blocks: bool = False

    @abstractmethod
    def read(self, dataset: DatasetConfig, data_dir: Path | None = None) -> Delivery:
        """Open the source's own files, or the files in `data_dir`. Reads schemas only.

        Raises:
            DeliveryError: as `finding.find` and `files.opened`.
        """

    @abstractmethod
    def declared(self, delivery: Delivery) -> list[Table]:
        """The declarations of the tables that a delivery has, in the order of their references."""

    @abstractmethod
    def to_contract(self, good: Frames, delivery: Delivery) -> dict[str, pl.DataFrame]:
        """Contract tables of validated delivered tables."""

    @abstractmethod
    def unanswerable(
        self, delivered: Collection[str], contract: Mapping[str, pl.LazyFrame], dataset: DatasetConfig
    ) -> dict[str, str]:
        """Task → why a delivery of these tables has no honest label for it."""

    def rows(self, table: Table, delivery: Delivery, _good: Frames) -> Rows:
        """Collect the declared columns of a delivered table.

        Args:
            _good: the good rows of the tables that were read before.

        Raises:
            DeliveryError: a missing column or a damaged file.
        """
        lazy = delivery.frames[table.name]
        require_columns(table.name, lazy.collect_schema(), table.types)
        frame = collect(table.name, delivery.place(table.name), lazy.select(list(table.types)))
        return Rows(frame, frame.height)

    def ingest(self, delivery: Delivery, now: datetime | None = None) -> Ingested:
        """Validate every delivered table against its declaration and map the good rows to contract tables.

        Args:
            now: events from this instant on are in the future (default: the current instant).

        Raises:
            DeliveryError: a missing column, a wrong type, an empty required table or a damaged file.
        """
        declared, notes = self.declared(delivery), list(delivery.notes)
        validated = self.validated(declared, delivery, notes, now=now)
        validated = agree(declared, validated, delivery.dataset.zone)
        for table in declared:
            if table.name in validated:
                require_good(table, validated[table.name], validated[table.name].good.height)
        good = {name: result.good for name, result in validated.items()}
        contract = self.to_contract(good, delivery)
        require_protected(delivery.dataset, contract["customers"].columns)
        dataset, told = self.described(delivery.dataset, good, {name: frame.lazy() for name, frame in contract.items()})
        validated = {name: released(result) for name, result in validated.items()}
        return Ingested(Tables(dataset, contract), validated, (*notes, *told))

    def validated(
        self,
        declared: Iterable[Table],
        delivery: Delivery,
        notes: list[str],
        *,
        known: Mapping[str, Validated] = MappingProxyType({}),
        rivals: Mapping[str, pl.DataFrame | None] = MappingProxyType({}),
        whole: bool = True,
        now: datetime | None = None,
    ) -> dict[str, Validated]:
        """The tables of a delivery that have rows, each validated by itself and by its references.

        Args:
            declared: their declarations, in the order of their references.
            notes: gets what is worth telling.
            known: tables that were validated before, which they may refer to.
            rivals: table → keys that rows elsewhere have as well, with other contents (`quarantine.validate`).
            whole: whether these are all rows of the tables, so that a required one must have some.
            now: events from this instant on are in the future (default: the current instant).

        Raises:
            DeliveryError: as `ingest`.
        """
        found: dict[str, Validated] = {}
        good = {name: result.good for name, result in known.items()}
        lost = {name: result.lost for name, result in known.items()}
        for table in declared:
            rows = self.rows(table, delivery, good)
            notes += rows.notes
            if whole and not rows.delivered:
                notes.append(without_rows(table, delivery))
                continue
            result = validate(
                table,
                rows.frame,
                delivery.dataset,
                good,
                lost=lost,
                delivered=rows.delivered,
                unread=rows.unread,
                now=now,
                rivals=rivals.get(table.name),
            )
            if whole:
                require_good(table, result, result.good.height)
            notes += result.notes
            found[table.name] = result
            good[table.name], lost[table.name] = result.good, result.lost
        return found

    def described(
        self, dataset: DatasetConfig, delivered: Collection[str], contract: Mapping[str, pl.LazyFrame]
    ) -> tuple[DatasetConfig, list[str]]:
        """The data set as its tables are: the days that they cover and the tasks that they can answer; and notes.

        Args:
            delivered: names of the delivered tables with rows.
            contract: contract tables.
        """
        off = self.unanswerable(delivered, contract, dataset)
        notes = [f"task {task} is off: {reason}" for task, reason in off.items() if task not in dataset.tasks_off]
        if not _has_hours(contract["transactions"], dataset.zone):
            notes.append(NO_HOURS)
        first, last = _days(contract["transactions"], dataset)
        if first >= dataset.covers_from + QUIET_START:
            notes.append(f"the first transaction is of {first}: the data begin there, not on {dataset.covers_from}")
        dataset = dataset.switching_off(off).model_copy(update={"covers_from": first})
        dataset, told = adapted(dataset, first, min(last + timedelta(days=1), dataset.covers_until))
        return dataset, [*notes, *told]


def _days(transactions: pl.LazyFrame, dataset: DatasetConfig) -> tuple[date, date]:
    """Local days of the first and the last transaction. What the description promises before and behind them is not
    known: counted as days without an event, it would fill windows with zeros and training dates with nothing."""
    at = pl.col("at")
    ends = transactions.select(at.min().alias("first"), at.max().alias("last")).collect(engine="streaming")
    first, last = ends.select(local_day(pl.all(), dataset.zone)).row(0)
    return first, last


def _has_hours(transactions: pl.LazyFrame, zone: str) -> bool:
    """Whether some purchase is at another time than local midnight."""
    clock = wall_times(pl.col("at"), zone).dt.time()
    timed = transactions.filter(pl.col("kind") == "purchase").select((clock != time()).any())
    return bool(timed.collect(engine="streaming").item())


def released(result: Validated) -> Validated:
    """A result without its rows."""
    return replace(result, good=result.good.clear(), lost=result.lost.clear())


def without_rows(table: Table, delivery: Delivery) -> str:
    """A note on a table without any row. Raises `DeliveryError` where the table is required."""
    if table.required:
        raise DeliveryError(f"table {table.name} has no rows ({delivery.place(table.name)}). Deliver at least one day.")
    return f"table {table.name} has no rows and counts as not delivered"


def require_good(table: Table, result: Validated, rows: int) -> None:
    """Raise `DeliveryError` where a required table has no good row."""
    if table.required and not rows:
        raise DeliveryError(_unusable(result))


def require_protected(dataset: DatasetConfig, columns: Iterable[str]) -> None:
    """Raise `DeliveryError` for a protected column that no customer can have: misspelt, it would protect nothing."""
    known = [*CONTRACT["customers"].types, *columns]
    if unknown := [column for column in dataset.protected if column not in known]:
        raise DeliveryError(
            f"{dataset.name}.yaml: protected: table customers has no column {unknown[0]!r}: "
            f"{nearest(unknown[0], dict.fromkeys(known))}"
        )


def _unusable(validated: Validated) -> str:
    worst = validated.counts[0]
    return (
        f"table {validated.table}: none of its {validated.delivered:,} rows can be used; most frequent reason: "
        f"{worst.reason} ({worst.rows:,} rows; first: {worst.first})."
    )
