"""What is computed a block of customers at a time, so that a night's memory does not grow with its customers.

A data set of few customers is one block: its view is shared between the steps of a process, and what is computed of it
is a frame in memory. Of more customers each step reads block after block, and its results wait in files of their own
(`spool`) until they are published. Which rows a block has belongs to `feature_assets/data/blocks.py`.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from pathlib import Path
from tempfile import mkdtemp

import dagster as dg
import polars as pl

from feature_assets.data.blocks import Block, blocks_of
from feature_assets.data.parts import PARTS
from feature_assets.data.tables import Tables, stored_parts
from feature_assets.events.barrier import frame_before
from feature_assets.events.view import View
from pipeline.resources.digests import broken
from pipeline.resources.files import make_folder

AT_A_TIME = 100_000
"""Customers of a block."""
Rows = pl.DataFrame | pl.LazyFrame
"""Of one block in memory, of several in files."""
Own = Callable[[pl.LazyFrame], pl.DataFrame]


@dataclass(frozen=True)
class Views:
    """The view of an as-of date over stored tables, a block of customers at a time.

    Attributes:
        folder: of the validated tables.
        as_of: the as-of date.
        blocks: in the order of their customers; a single None where all customers come at once.
    """

    folder: Path
    as_of: date
    blocks: tuple[Block | None, ...]

    @property
    def whole(self) -> bool:
        """Whether all customers come at once."""
        return self.blocks == (None,)

    def __iter__(self) -> Iterator[View]:
        """The views of the blocks with a customer; each is read when it is asked for."""
        if self.whole:
            yield shared_view(self.folder, self.as_of)
            return
        for block in self.blocks:
            view = View(load_tables(self.folder, block), self.as_of)
            if view.customers.height:
                yield view
            del view  # before the next one is read

    def tables(self) -> Iterator[Tables]:
        """The tables of the blocks, as the views."""
        return (load_tables(self.folder, block) for block in self.blocks)

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return stored_parts(self.folder)[name] if name in PARTS else (self.folder / f"{name}.parquet").exists()

    def customers(self) -> pl.DataFrame:
        """customer_id of everybody known before the as-of date, in the order of the views."""
        rows = pl.read_parquet(self.folder / "customers.parquet", columns=["customer_id", "joined_on"])
        return frame_before("customers", rows, self.as_of).select("customer_id")

    def computed(self, compute: Callable[[View, Own], pl.DataFrame], folder: Path) -> Rows:
        """What `compute` makes of each view, one below the other.

        Args:
            compute: gets a view, and what takes the rows of its customers from a frame with one row a customer in the
                order of the views.
            folder: for the results of several blocks; must stay until they are read.
        """
        parts: list[Path] = []
        first = 0
        for view in self:
            frame = compute(view, partial(_rows_of, first, view.customers.height))
            if self.whole:
                return frame
            first += view.customers.height
            parts.append(folder / f"{len(parts):05}.parquet")
            frame.write_parquet(parts[-1], compression="lz4")
        return pl.scan_parquet(parts)


def _rows_of(first: int, count: int, whole: pl.LazyFrame) -> pl.DataFrame:
    return whole.slice(first, count).collect()


def views_of(folder: Path, as_of: date, at_a_time: int) -> Views:
    """The views of an as-of date over the validated tables in a folder."""
    blocks = blocks_of(folder / "customers.parquet", at_a_time)
    return Views(folder, as_of, tuple(blocks) if len(blocks) > 1 else (None,))


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


def load_tables(folder: Path, block: Block | None = None) -> Tables:
    """The validated tables in a folder, kept for the next step of the process that asks; or a block of them, not kept.

    Raises `dg.Failure` where they were altered.
    """
    refuse_altered(folder)
    return _load_all(folder) if block is None else Tables.load(folder, block)


@lru_cache(maxsize=1)
def _load_all(folder: Path) -> Tables:
    return Tables.load(folder)


@lru_cache(maxsize=1)
def refuse_altered(folder: Path) -> None:
    """Raise `dg.Failure` where validated tables are not what was written; looked at once a process and folder."""
    why = broken(folder)
    if why:
        raise dg.Failure(f"{why}: materialise the ingestion assets again", allow_retries=False)


@lru_cache(maxsize=1)
def shared_view(folder: Path, as_of: date) -> View:
    """The view of all customers, kept for the next step of the process that asks."""
    return View(load_tables(folder), as_of)
