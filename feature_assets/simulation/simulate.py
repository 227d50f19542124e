"""Write a simulation: blocks in any number of processes, each a pure function of (seed, block), the same bytes always.

The folder is written beside (`<folder>.part`) and renamed, so that a killed run leaves no half of one. The first block
also tells what the labels learn from the population, which the oracle of every block needs.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from feature_assets.data.dataset import midnight
from feature_assets.data.known import KNOWN
from feature_assets.simulation.block import Block, generator, simulate_block
from feature_assets.simulation.config import SimulationConfig
from feature_assets.simulation.dirt import dirty
from feature_assets.simulation.frames import Naming, block_frames, make_naming, shared_frames
from feature_assets.simulation.oracle.block import oracle_block
from feature_assets.simulation.oracle.constants import OracleConstants, measure, oracle_days
from feature_assets.simulation.oracle.frames import describe, oracle_frame
from feature_assets.simulation.world import World, make_world

TABLES, ORACLE, DESCRIPTION = "tables", "oracle", "simulation.json"


@dataclass(frozen=True)
class Job:
    """What a process needs to know to write one block: customers `first` … `first + customers − 1`.

    Attributes:
        quota: how many of its customers, the first ones, get an oracle.
        constants: what the first block told; None for the first block itself.
    """

    folder: Path
    config: SimulationConfig
    seed: int
    number: int
    first: int
    customers: int
    naming: Naming
    until: date
    quota: int
    constants: OracleConstants | None = None


def simulate(
    folder: Path,
    customers: int,
    seed: int = 0,
    workers: int = 1,
    until: date | None = None,
    progress: Callable[[str], None] | None = None,
    config: SimulationConfig | None = None,
) -> None:
    """Write `<folder>/tables/<table>/part-….parquet`, `<folder>/oracle/as_of=…/part-….parquet` with `classes.json`
    beside, and `<folder>/simulation.json`.

    Args:
        folder: replaced if it exists.
        customers: how many, ≥ 1.
        seed: of everything; the same seed gives the same bytes, whatever `workers`.
        workers: processes.
        until: first local day that is not written any more (the process goes on behind it); default: all days. The
            oracle's dates lie 84 and 91 days before it; there is none if that is too early for a training set.
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
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    naming = make_naming(customers, seed)
    firsts = range(0, customers, config.block)
    quota = -(-config.oracle_customers // len(firsts))
    jobs = [
        Job(beside, config, seed, b, first, min(config.block, customers - first), naming, until, quota)
        for b, first in enumerate(firsts)
    ]
    done = 0
    for written in _run(jobs, workers):
        done += written
        if progress:
            progress(f"{done:,} of {customers:,} customers")
    described = {"seed": seed, "customers": customers, "until": until.isoformat()}
    text = json.dumps(described | {"parameters": config.model_dump(mode="json")}, indent=1)
    (beside / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)


def _run(jobs: list[Job], workers: int) -> Iterator[int]:
    """Number of customers of each written block, as they are done; the first block comes first."""
    constants = write_block(jobs[0])
    yield jobs[0].customers
    rest = [replace(job, constants=constants) for job in jobs[1:]]
    if workers <= 1 or len(rest) <= 1:
        for job in rest:
            write_block(job)
            yield job.customers
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(write_block, job): job for job in rest}
        for future in as_completed(running):
            future.result()
            yield running[future].customers


def write_block(job: Job) -> OracleConstants | None:
    """Simulate and write one block; the first one also writes what all share. Returns what the oracle needs, None if
    there is no oracle."""
    world = make_world(job.config, job.seed)
    block = simulate_block(world, job.seed, job.number, job.customers)
    ids = job.naming.names(job.first, job.customers)
    rng = generator(job.seed, job.number, 1)
    frames = block_frames(rng, world, block, ids)
    last = (job.until - job.config.first_day).days
    for name, frame in frames.items():
        known = _before(name, frame, job.until, job.config.zone)
        frames[name] = dirty(rng, name, known, job.config, job.until)
    if job.number == 0:
        frames |= {n: _before(n, f, job.until, job.config.zone) for n, f in shared_frames(world).items()}
    for name, frame in frames.items():
        _write(job.folder / TABLES / name / f"part-{job.number:05d}.parquet", frame)
    if not oracle_days(world, last):
        return None
    constants = job.constants or measure(world, block, last)
    _write_oracle(job, world, block, ids, constants)
    return constants


def _write_oracle(job: Job, world: World, block: Block, ids: pl.Series, constants: OracleConstants) -> None:
    folder = job.folder / ORACLE
    rng = generator(job.seed, job.number, 2)
    for day in constants.days:
        found = oracle_block(rng, world, block, constants, day, job.quota)
        as_of = job.config.first_day + timedelta(days=day)
        _write(folder / f"as_of={as_of}" / f"part-{job.number:05d}.parquet", oracle_frame(world, found, ids))
    if job.number == 0:
        describe(world, constants, folder / "classes.json")


def _before(table: str, frame: pl.DataFrame, until: date, zone: str) -> pl.DataFrame:
    """The rows that had become known before `until`."""
    column = KNOWN[table].row
    if column is None:
        return frame
    limit = pl.lit(midnight(until, zone)).cast(frame[column].dtype) if column == "at" else pl.lit(until)
    return frame.filter(pl.col(column) < limit)


def _write(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path, compression="zstd", compression_level=1, statistics=False)
