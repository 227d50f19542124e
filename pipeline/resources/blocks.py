"""What is computed a block of customers at a time, so that a night's memory does not grow with its customers.

A data set of few customers is one block: its view is shared between the steps of a process, and what is computed of it
is a frame in memory. Of more customers each step works shard by shard: a shard is a block of customers at an as-of
date. Which rows a block has belongs to `feature_assets/data/blocks.py`, who computes shards to `pipeline/shards/`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import mkdtemp

import dagster as dg
import polars as pl

from feature_assets.data.blocks import Block, Sample, blocks_of
from feature_assets.data.parts import PARTS
from feature_assets.data.tables import Tables, stored_parts
from feature_assets.events.barrier import frame_before
from feature_assets.events.view import View
from pipeline.resources.digests import broken
from pipeline.resources.files import make_folder
from pipeline.settings import Settings

CUSTOMERS = "customers.parquet"
AT_A_TIME: int = Settings.model_fields["customers_at_a_time"].default
"""Customers of a block."""
Rows = pl.DataFrame | pl.LazyFrame
"""Of one block in memory, of several in files."""


@dataclass(frozen=True)
class Shard:
    """A block of customers at an as-of date: what one process computes at a time, from files alone.

    Attributes:
        folder: of the validated tables.
        as_of: the as-of date.
        block: its customers.
        number: its place among the shards of the date, from 0.
        first: customers of the shards before it.
        customers: known before the as-of date; at least one.
    """

    folder: Path
    as_of: date
    block: Block
    number: int
    first: int
    customers: int

    def view(self) -> View:
        """The view of its customers, read from the tables, which are not verified here."""
        return View(Tables.load(self.folder, self.block), self.as_of)

    def own(self, everybody: pl.LazyFrame) -> pl.DataFrame:
        """The rows of its customers in a frame with one row a customer of the date, in order."""
        return everybody.slice(self.first, self.customers).collect()


@dataclass(frozen=True)
class Views:
    """The view of an as-of date over stored tables, a block of customers at a time.

    Attributes:
        folder: of the validated tables.
        as_of: the as-of date.
        at_a_time: customers of a block.
    """

    folder: Path
    as_of: date
    at_a_time: int

    @cached_property
    def _blocks(self) -> list[Block]:
        """In the order of their customers."""
        return blocks_of(self.folder / CUSTOMERS, self.at_a_time)

    @property
    def whole(self) -> bool:
        """Whether all customers come at once."""
        return len(self._blocks) == 1

    def __iter__(self) -> Iterator[View]:
        """The views of the blocks with a customer; each is read when it is asked for."""
        if self.whole:
            yield _shared_view(self.folder, self.at_a_time, self.as_of)
            return
        for shard in self.shards():
            yield shard.view()

    def shards(self) -> list[Shard]:
        """The blocks with a customer, in their order. Raises `dg.Failure` where the tables were altered."""
        refuse_altered(self.folder)
        known, first = self.customers().lazy(), 0
        found: list[Shard] = []
        for block in self._blocks:
            customers = block.of(known).select(pl.len()).collect().item()
            if customers:
                found.append(Shard(self.folder, self.as_of, block, len(found), first, customers))
            first += customers
        return found

    def tables(self) -> Iterator[Tables]:
        """The tables of the blocks; each is read when it is asked for."""
        if self.whole:
            yield stored_tables(self.folder, self.at_a_time)
            return
        refuse_altered(self.folder)
        for block in self._blocks:
            yield Tables.load(self.folder, block)

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return stored_parts(self.folder)[name] if name in PARTS else (self.folder / f"{name}.parquet").exists()

    def customers(self) -> pl.DataFrame:
        """customer_id of everybody known before the as-of date, in the order of the views."""
        rows = pl.read_parquet(self.folder / CUSTOMERS, columns=["customer_id", "joined_on"])
        return frame_before("customers", rows, self.as_of).select("customer_id")


@contextmanager
def spool(lake: Path) -> Iterator[Path]:
    """A folder in the lake for the time of a step; one that a kill leaves is a stray."""
    make_folder(lake)
    folder = Path(mkdtemp(prefix=".spool-", suffix=".part", dir=lake))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_slices(rows: pl.LazyFrame, at_a_time: int) -> Iterator[pl.DataFrame]:
    """The rows of a frame, so many at a time."""
    height = rows.select(pl.len()).collect().item()
    for start in range(0, height, at_a_time):
        yield rows.slice(start, at_a_time).collect()


@lru_cache(maxsize=1)
def stored_tables(folder: Path, at_a_time: int) -> Tables:
    """The validated tables in a folder, or those of about `at_a_time` customers where there are more; kept for the next
    step of the process that asks. Raises `dg.Failure` where they were altered."""
    refuse_altered(folder)
    sample = Sample.of_stored(folder / CUSTOMERS, at_a_time)
    return Tables.load(folder, sample if sample.of_each > 1 else None)


@lru_cache(maxsize=1)
def refuse_altered(folder: Path) -> None:
    """Raise `dg.Failure` where validated tables are not what was written; looked at once a process and folder."""
    why = broken(folder)
    if why:
        raise dg.Failure(f"{why}: materialise the ingestion assets again", allow_retries=False)


@lru_cache(maxsize=1)
def _shared_view(folder: Path, at_a_time: int, as_of: date) -> View:
    """The view of all customers, kept for the next step of the process that asks."""
    return View(stored_tables(folder, at_a_time), as_of)
