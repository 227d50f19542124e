"""Deliveries that add up, for tests: an inbox that is filled day by day, and the ledger that takes it in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.data.tables import Tables
from pipeline.intake.arrivals import Ledger
from pipeline.monitoring import volume
from pipeline.resources.lake import Lake
from pipeline.settings import VolumeLimits
from tests.deliveries import shop
from tests.deliveries.makers import Frames, write

DAYS = tuple(date(2023, 10, day) for day in (2, 3, 4, 6))
"""Days of arrival. Nothing arrives on the 5th."""
COUNTS = ("delivered", "new", "corrected", "repeated", "late", "set aside", "copies")


def describe(folder: Path, **values: object) -> DatasetConfig:
    """The shop, whose deliveries add up in `<folder>/inbox`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inbox").mkdir(exist_ok=True)
    text = shop.DESCRIPTION.replace("folder: tables", "folder: inbox\ndelivery: append")
    text = text.replace("covers_until: 2023-10-28", "covers_until: 2099-01-01")
    path = folder / "shop.yaml"
    path.write_text(text + "".join(f"{key}: {value}\n" for key, value in values.items()), encoding="utf-8")
    return load_dataset(str(path), folder)


def before(frames: Frames, day: date) -> pl.DataFrame:
    """The lines of the shop that happened before a UTC day."""
    return frames["transactions"].filter(pl.col("at").dt.date() < day)


def between(frames: Frames, first: date, day: date) -> pl.DataFrame:
    """The lines of the shop of the UTC days in [first, day)."""
    return frames["transactions"].filter(pl.col("at").dt.date().is_between(first, day, closed="left"))


def arrive(inbox: Path, day: date, parts: int | None = None, **frames: pl.DataFrame) -> Path:
    """Put a delivery into the inbox."""
    return write(frames, inbox / f"arrived_on={day}", parts)


def daily(inbox: Path) -> Frames:
    """The shop's deliveries: all that happened before the first day, then what is new on each. Returns all of it."""
    frames = shop.tables()
    frames["transactions"] = before(frames, DAYS[-1])
    arrive(inbox, DAYS[0], **frames | {"transactions": before(frames, DAYS[0])})
    for first, day in pairwise(DAYS):
        arrive(inbox, day, transactions=between(frames, first, day))
    return frames


class Night:
    """What a night does with deliveries, without a night."""

    def __init__(self, home: Path, dataset: DatasetConfig) -> None:
        self.lake = Lake(root=str(home / "lake"))
        self.dataset = dataset
        self.said: list[str] = []
        self.judge = volume.judge_of_arrivals(VolumeLimits())

    @property
    def ledger(self) -> Ledger:
        """As a new process finds it."""
        return Ledger(self.lake, self.dataset)

    def __call__(self, day: date, inbox: Path | None = None) -> Tables:
        """Take in what has arrived by a day; the tables of what is known then."""
        ledger = self.ledger
        folder = inbox or self.dataset.folder
        assert folder is not None
        ledger.take_in(folder, day, self.said.append, self.judge)
        tables = ledger.merged(day).tables
        ledger.close(day)
        return tables

    def counts(self, day: date, table: str = "transactions") -> list[dict[str, int]]:
        """The counts of a table, an arrival after the other, those of 0 left out."""
        rows = self.ledger.counts(day).filter(pl.col("table") == table).select(COUNTS).to_dicts()
        return [{name: count for name, count in row.items() if count} for row in rows]


def digests(folder: Path) -> dict[str, str]:
    """File → SHA-256 of its bytes, of a folder and what lies below."""
    files: Iterable[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
