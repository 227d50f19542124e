"""Write the oracle of a simulation that exists: its blocks are simulated again from `simulation.json`.

The labels' constants are measured on the first block, and every block needs them. A block costs about 0.6 ms a customer
to simulate, its oracle 10 ms a customer of the sample.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from feature_assets.simulation.block import generator
from feature_assets.simulation.description import Description, Part
from feature_assets.simulation.oracle.block import oracle_block
from feature_assets.simulation.oracle.constants import OracleConfig, OracleConstants, measure, oracle_days
from feature_assets.simulation.oracle.frames import describe, oracle_frame
from feature_assets.simulation.parallel import spread
from feature_assets.simulation.simulate import write_parquet

ORACLE, CLASSES = "oracle", "classes.json"


@dataclass(frozen=True)
class Job:
    """The oracle of one block: of its first `quota` customers."""

    folder: Path
    run: Description
    part: Part
    quota: int
    draws: int
    constants: OracleConstants


def write(
    folder: Path,
    config: OracleConfig | None = None,
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Write `<folder>/oracle/as_of=…/part-….parquet` and `<folder>/oracle/classes.json`.

    Args:
        folder: of a simulation; an oracle in it, that of uplift as well, is replaced.
        config: size of the oracle.
        workers: processes; the bytes do not depend on them.
        progress: receives a line after each block.

    Raises:
        FileNotFoundError: the folder holds no simulation.
        ValueError: the simulation ends too early for a training set before the oracle's dates.
    """
    config, run = config or OracleConfig(), Description.load(folder)
    world, parts = run.world(), run.parts
    if not oracle_days(world, run.last, config):
        raise ValueError(f"{folder} ends at {run.until}: too early for an oracle, no training set precedes its dates")
    beside = folder / f"{ORACLE}.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    constants = measure(world, run.block(world, parts[0]), run.last, config)
    describe(world, constants, config.draws, beside / CLASSES)
    quota, done = -(-config.customers // len(parts)), 0
    jobs = [Job(beside, run, part, quota, config.draws, constants) for part in parts]
    for job in spread(write_block, jobs, workers):
        done += job.part.customers
        if progress:
            progress(f"oracle of {done:,} of {run.customers:,} customers")
    shutil.rmtree(folder / ORACLE, ignore_errors=True)
    beside.rename(folder / ORACLE)


def write_block(job: Job) -> None:
    """Write one file a date."""
    run, part = job.run, job.part
    world = run.world()
    block, ids = run.block(world, part), run.ids(part)
    rng = generator(run.seed, part.number, 2)
    for day in job.constants.days:
        result = oracle_block(rng, world, block, job.constants, day, job.quota, job.draws)
        as_of = run.parameters.first_day + timedelta(days=day)
        write_parquet(job.folder / f"as_of={as_of}" / part.file, oracle_frame(world, result, ids))
