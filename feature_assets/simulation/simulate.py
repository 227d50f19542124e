"""Write a simulation: blocks in any number of processes, each a pure function of (seed, block), the same bytes always.

The folder is written beside (`<folder>.part`) and renamed, so that a killed run leaves no half-written delivery.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from feature_assets.data.contract import CONTRACT
from feature_assets.data.local_time import day_start
from feature_assets.simulation.block import generator
from feature_assets.simulation.config import SimulationConfig
from feature_assets.simulation.description import Description, Part
from feature_assets.simulation.dirt import dirty
from feature_assets.simulation.frames import block_frames, shared_frames
from feature_assets.simulation.parallel import spread

Progress = Callable[[str], None]


def simulate(
    folder: Path,
    customers: int,
    seed: int = 0,
    workers: int = 1,
    until: date | None = None,
    progress: Progress | None = None,
    config: SimulationConfig | None = None,
) -> None:
    """Write `<folder>/tables/<table>/part-….parquet` and `<folder>/simulation.json`.

    Args:
        folder: replaced if it exists.
        customers: how many, ≥ 1.
        seed: of everything; the same seed gives the same bytes, whatever `workers`.
        workers: processes.
        until: first local day that is not written (the process itself goes on after it); default: all days.
        progress: receives a line after each block.
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
    run = Description(seed=seed, customers=customers, until=until, parameters=config)
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    done = 0
    for job in spread(write_block, [Job(beside, run, part) for part in run.parts], workers):
        done += job.part.customers
        if progress:
            progress(f"{done:,} of {customers:,} customers")
    run.save(beside)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)


@dataclass(frozen=True)
class Job:
    """One block to be written."""

    folder: Path
    run: Description
    part: Part


def write_block(job: Job) -> None:
    """Simulate and write one block; the first one also writes the tables that all blocks share."""
    run, part = job.run, job.part
    world = run.world()
    rng = generator(run.seed, part.number, 1)
    frames = block_frames(rng, world, run.block(world, part), run.ids(part))
    for name, frame in frames.items():
        frames[name] = dirty(rng, name, _before(name, frame, run), run.parameters, run.until)
    if part.number == 0:
        frames |= {name: _before(name, frame, run) for name, frame in shared_frames(world).items()}
    for name, frame in frames.items():
        write_parquet(job.folder / "tables" / name / part.file, frame)


def _before(table: str, frame: pl.DataFrame, run: Description) -> pl.DataFrame:
    """The rows that had become known before the end of the delivery."""
    column = CONTRACT[table].instant
    if column is None:
        return frame
    if isinstance(dtype := frame[column].dtype, pl.Datetime):
        return frame.filter(pl.col(column) < pl.lit(day_start(run.until, run.parameters.zone)).cast(dtype))
    return frame.filter(pl.col(column) < pl.lit(run.until))


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write one file of a simulation, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path, compression="zstd", compression_level=1, statistics=False)
