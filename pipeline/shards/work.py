"""What a worker does: it computes one shard and leaves its frames in a folder that is there whole or not at all."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

import polars as pl

from feature_assets.events.view import View
from pipeline.plugins import load_plugins
from pipeline.resources.blocks import Shard
from pipeline.resources.digests import broken, seal
from pipeline.resources.files import discard, flush_below, make_folder
from ple_model.serving.files import flush

Own = Callable[[pl.LazyFrame], pl.DataFrame]
"""Takes the rows of some customers from a frame with one row a customer of the date, in order."""


class Task(Protocol):
    """What is computed of every shard; a frozen dataclass of paths and plain values, so that it travels to a worker."""

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        """Frames by name, each with one row a customer of the view, in order; `own` takes their rows from a file."""
        ...


@dataclass(frozen=True)
class Done:
    """A computed shard.

    Attributes:
        number: of the shard.
        customers: of the shard.
        seconds: of its last attempt.
        retries: attempts before that one which ended with their process.
    """

    number: int
    customers: int
    seconds: float
    retries: int


@dataclass(frozen=True)
class Work:
    """A task, and where its results go. It travels to the workers.

    Attributes:
        task: computes a shard.
        folder: of the results, a folder a shard; every worker reaches it by this path.
        plugins: modules that extend the registries.
    """

    task: Task
    folder: Path
    plugins: tuple[str, ...] = ()

    def __call__(self, shard: Shard) -> Done:
        """Compute a shard, unless it is there whole."""
        started = perf_counter()
        load_plugins(self.plugins)
        place = self.place(shard)
        if not self.finished(shard):
            beside = self.folder / f".{place.name}-{uuid.uuid4().hex[:8]}.part"
            make_folder(beside)
            for name, frame in self.task(shard.view(), shard.own).items():
                frame.write_parquet(beside / f"{name}.parquet", compression="lz4")
            seal(beside)
            flush_below(beside)
            self._put(beside, shard)
        lost = sum(1 for _ in self.folder.glob(f".{place.name}-*.part"))
        return Done(shard.number, shard.customers, perf_counter() - started, lost)

    def place(self, shard: Shard) -> Path:
        """The folder of a finished shard."""
        return self.folder / f"{shard.number:05}"

    def finished(self, shard: Shard) -> bool:
        """Whether a shard is there as it was written; one that was altered is removed."""
        place = self.place(shard)
        if not place.exists():
            return False
        if broken(place):
            discard(place)
            return False
        return True

    def _put(self, beside: Path, shard: Shard) -> None:
        """Put a shard in its place; another attempt at it may have been first, with the same bytes."""
        try:
            beside.rename(self.place(shard))
        except OSError:
            if not self.finished(shard):
                raise
            discard(beside)
        flush(self.folder)


def frames(folder: Path, name: str) -> pl.LazyFrame:
    """A frame of all shards in a folder, one below the other."""
    return pl.scan_parquet(sorted(folder.glob(f"[0-9]*/{name}.parquet")))
