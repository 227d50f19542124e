"""Write a simulation: blocks in any number of processes, each a pure function of (seed, block), the same bytes always.

The folder is written beside (`<folder>.part`) and renamed, so that a killed run leaves no half of one.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets.dataset import midnight
from feature_assets.sources.bank_simulation.block import generator, simulate_block
from feature_assets.sources.bank_simulation.config import SimulationConfig
from feature_assets.sources.bank_simulation.frames import Naming, block_frames, make_naming, shared_frames
from feature_assets.sources.bank_simulation.world import make_world
from feature_assets.tables import INSTANTS

TABLES, DESCRIPTION = "tables", "simulation.json"


@dataclass(frozen=True)
class Job:
    """What a process needs to know to write one block."""

    folder: Path
    config: SimulationConfig
    seed: int
    number: int
    first: int
    customers: int
    naming: Naming
    until: date


def simulate(
    folder: Path,
    customers: int,
    seed: int = 0,
    workers: int = 1,
    until: date | None = None,
    progress: Callable[[str], None] | None = None,
    config: SimulationConfig | None = None,
) -> None:
    """Write `<folder>/tables/<table>/part-….parquet`, `<folder>/oracle/…` and `<folder>/simulation.json`.

    Args:
        folder: replaced if it exists.
        customers: how many, ≥ 1. seed: of everything; the same seed gives the same bytes, whatever `workers`.
        workers: processes.
        until: first local day that is not written any more (the process goes on behind it); default: all days.
        progress: is told what was written.
        config: the parameters of the process.

    Raises:
        ValueError: `customers` < 1 or `until` is not within the days of the simulation.
    """
    config = config or SimulationConfig()
    end = config.first_day + timedelta(days=config.days)
    until = until or end
    if customers < 1:
        raise ValueError(f"customers is {customers}, expected at least 1")
    if not config.first_day < until <= end:
        raise ValueError(f"until is {until}, expected a day after {config.first_day} and at most {end}")
    tell = progress or (lambda text: None)
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    naming = make_naming(customers, seed)
    firsts = range(0, customers, config.block)
    jobs = [
        Job(beside, config, seed, b, first, min(config.block, customers - first), naming, until)
        for b, first in enumerate(firsts)
    ]
    _write_shared(beside, config, seed, until)
    done = 0
    for job in _run(jobs, workers):
        done += job.customers
        tell(f"{done:,} of {customers:,} customers")
    described = {"seed": seed, "customers": customers, "until": until.isoformat()}
    text = json.dumps(described | {"parameters": config.model_dump(mode="json")}, indent=1)
    (beside / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)


def _run(jobs: list[Job], workers: int):  # type: ignore[no-untyped-def]
    if workers <= 1 or len(jobs) == 1:
        for job in jobs:
            yield write_block(job)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(write_block, job) for job in jobs]):
            yield future.result()


def write_block(job: Job) -> Job:
    """Simulate and write one block."""
    world = make_world(job.config, job.seed)
    block = simulate_block(world, job.seed, job.number, job.customers)
    ids = job.naming.names(job.first, job.customers)
    frames = block_frames(generator(job.seed, job.number, 1), world, block, ids)
    for name, frame in frames.items():
        known = _before(name, frame, job.until, job.config.zone)
        _write(job.folder / TABLES / name / f"part-{job.number:05d}.parquet", known)
    return job


def _before(table: str, frame: pl.DataFrame, until: date, zone: str) -> pl.DataFrame:
    """The rows that had become known before `until`."""
    if table == "customers":
        return frame.filter(pl.col("joined_on") < until)
    if table == "campaigns":
        return frame.filter(pl.col("starts_on") < until)
    if table not in INSTANTS:
        return frame
    column = INSTANTS[table]
    limit = pl.lit(midnight(until, zone)).cast(frame[column].dtype) if column == "at" else pl.lit(until)
    return frame.filter(pl.col(column) < limit)


def _write_shared(folder: Path, config: SimulationConfig, seed: int, until: date) -> None:
    for name, frame in shared_frames(make_world(config, seed)).items():
        _write(folder / TABLES / name / "part-00000.parquet", _before(name, frame, until, config.zone))


def _write(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path, compression="zstd", compression_level=1, statistics=False)


assert np.iinfo(np.uint32).max > SimulationConfig().block
