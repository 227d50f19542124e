"""One way to ingest for every source: open the files, validate table by table, map the good rows to the contract.

Here belong the base class of the readers and the loop that they share. The tables of a source and how they map to the
contract belong to its own file. Source: DATA §1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.agreement import agree
from feature_assets.data.coercion import DeliveryError, Wrong, require_columns
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.data.horizon import adapted
from feature_assets.data.local_time import local_clock, local_day
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
    """

    tables: Mapping[str, Table]
    never: frozenset[str] = frozenset()

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
    def unanswerable(self, good: Frames, contract: Frames, dataset: DatasetConfig) -> dict[str, str]:
        """Task → why this delivery has no honest label for it."""

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
        dataset, notes = delivery.dataset, list(delivery.notes)
        good: dict[str, pl.DataFrame] = {}
        validated: dict[str, Validated] = {}
        declared = self.declared(delivery)
        for table in declared:
            rows = self.rows(table, delivery, good)
            notes += rows.notes
            if not rows.delivered:
                if table.required:
                    place = delivery.place(table.name)
                    raise DeliveryError(f"table {table.name} has no rows ({place}). Deliver at least one day.")
                notes.append(f"table {table.name} has no rows and counts as not delivered")
                continue
            lost = {name: found.lost for name, found in validated.items()}
            result = validate(
                table, rows.frame, dataset, good, lost=lost, delivered=rows.delivered, unread=rows.unread, now=now
            )
            _require_good(table, result)
            good[table.name] = result.good
            validated[table.name] = result
            notes += result.notes
        validated = agree(declared, validated, dataset.zone)
        for table in declared:
            if table.name in validated:
                _require_good(table, validated[table.name])
        good = {name: result.good for name, result in validated.items()}
        validated = {name: _released(result) for name, result in validated.items()}
        contract = self.to_contract(good, delivery)
        _require_protected(dataset, contract["customers"])
        off = self.unanswerable(good, contract, dataset)
        notes += [f"task {task} is off: {reason}" for task, reason in off.items() if task not in dataset.tasks_off]
        if not _has_hours(contract["transactions"], dataset.zone):
            notes.append(NO_HOURS)
        first, last = _days(contract["transactions"], dataset)
        if first >= dataset.covers_from + QUIET_START:
            notes.append(f"the first transaction is of {first}: the data begin there, not on {dataset.covers_from}")
        dataset = dataset.switching_off(off).model_copy(update={"covers_from": first})
        dataset, told = adapted(dataset, first, min(last + timedelta(days=1), dataset.covers_until))
        notes += told
        return Ingested(Tables(dataset, contract), validated, tuple(notes))


def _days(transactions: pl.DataFrame, dataset: DatasetConfig) -> tuple[date, date]:
    """Local days of the first and the last transaction. What the description promises before and behind them is not
    known: counted as days without an event, it would fill windows with zeros and training dates with nothing."""
    ends = pl.concat([transactions.select(pl.col("at").min()), transactions.select(pl.col("at").max())])
    first, last = ends.select(local_day(pl.col("at"), dataset.zone)).to_series().to_list()
    return first, last


def _has_hours(transactions: pl.DataFrame, zone: str) -> bool:
    """Whether some purchase is at another time than local midnight."""
    _, clock = local_clock(transactions.filter(pl.col("kind") == "purchase")["at"], zone)
    return bool((clock != 0).any())


def _released(result: Validated) -> Validated:
    return replace(result, good=result.good.clear(), lost=result.lost.clear())


def _require_good(table: Table, result: Validated) -> None:
    if table.required and result.good.is_empty():
        raise DeliveryError(_unusable(result))


def _require_protected(dataset: DatasetConfig, customers: pl.DataFrame) -> None:
    """Refuse a protected column that no customer can have: misspelt, it would protect nothing."""
    known = [*CONTRACT["customers"].types, *customers.columns]
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
