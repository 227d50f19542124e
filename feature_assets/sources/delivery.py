"""The two values that pass between a reader and its callers: an opened delivery, and a validated one.

Source: DATA §1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

import polars as pl
from typing_extensions import TypeVar

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.quarantine import Validated
from feature_assets.data.tables import StoredTables, Tables

Kept = TypeVar("Kept", bound=Tables | StoredTables, default=Tables)


@dataclass(frozen=True)
class Delivery:
    """Opened files of one delivery.

    Attributes:
        files: delivered table, or `<table>/<part>` where it has several parts → file.
        frames: delivered table → lazy frame; a table that was not delivered is absent.
        notes: for the reader of the run: optional tables that are missing, and what is not read.
    """

    dataset: DatasetConfig
    files: dict[str, Path]
    frames: dict[str, pl.LazyFrame] = field(repr=False)
    notes: tuple[str, ...] = ()

    def place(self, table: str) -> Path:
        """The file of a delivered table, or the folder of its parts."""
        if table in self.files:
            return self.files[table]
        part, path = next((name, path) for name, path in self.files.items() if name.partition("/")[0] == table)
        return path.parents[part.count("/") - 1]


@dataclass(frozen=True)
class Ingested(Generic[Kept]):
    """A validated delivery.

    Attributes:
        tables: the contract tables of the good rows; those of a delivery that was read in blocks are in files.
        validated: delivered table → its validation result (its good rows are released).
        notes: the delivery's notes, values that stand for none, and tasks that are off because a table is missing.
    """

    tables: Kept
    validated: dict[str, Validated] = field(repr=False)
    notes: tuple[str, ...] = ()

    def check_limits(self) -> None:
        """Refuse a delivery of which a table lost more rows than its limit allows.

        Raises:
            DeliveryError: names each such table, its share, its most frequent reason and the first such row.
        """
        over = [v for v in self.validated.values() if v.over_limit]
        if over:
            raise DeliveryError(" ".join(_over_limit(v) for v in over))


def _over_limit(validated: Validated) -> str:
    worst = next(count for count in validated.counts if count.action == "dropped")
    return (
        f"table {validated.table}: {validated.dropped:,} of {validated.delivered:,} rows "
        f"({validated.dropped_share:.2%}) are not usable, the limit is {validated.limit_share:.2%}. "
        f"Most frequent: {worst.reason} ({worst.rows:,} rows; first: {worst.first}). "
        f"Repair the delivery, or raise quarantine_limits.{validated.table} in the data set's YAML."
    )
