"""The description of a simulation, `simulation.json`: from it every block can be simulated again.

Here belong the seed, the size and the parameters, and how customers are divided into blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
from pydantic import Field

from feature_assets.closed import Closed
from feature_assets.simulation.block import Block, simulate_block
from feature_assets.simulation.config import SimulationConfig
from feature_assets.simulation.frames import make_naming
from feature_assets.simulation.world import World, make_world

FILE = "simulation.json"


@dataclass(frozen=True)
class Part:
    """Block `number`: customers `first` … `first + customers − 1`."""

    number: int
    first: int
    customers: int

    @property
    def file(self) -> str:
        """Name of the Parquet files of the block."""
        return f"part-{self.number:05d}.parquet"


class Description(Closed):
    """One simulation.

    Attributes:
        seed: of everything.
        customers: how many, ≥ 1.
        until: first local day that is not written.
        parameters: of the process.
    """

    seed: int
    customers: int = Field(ge=1)
    until: date
    parameters: SimulationConfig

    @property
    def last(self) -> int:
        """Number of days that are written."""
        return (self.until - self.parameters.first_day).days

    @property
    def parts(self) -> list[Part]:
        """The blocks."""
        size = self.parameters.block
        firsts = range(0, self.customers, size)
        return [Part(number, first, min(size, self.customers - first)) for number, first in enumerate(firsts)]

    def world(self) -> World:
        """The shared part of the simulation."""
        return make_world(self.parameters, self.seed)

    def block(self, world: World, part: Part) -> Block:
        """Everything about the customers of a block, over all days of the process."""
        return simulate_block(world, self.seed, part.number, part.customers)

    def ids(self, part: Part) -> pl.Series:
        """Customer ids of a block."""
        return make_naming(self.customers, self.seed).names(part.first, part.customers)

    def save(self, folder: Path) -> None:
        """Write `<folder>/simulation.json`."""
        text = json.dumps(self.model_dump(mode="json"), indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Description:
        """Read `<folder>/simulation.json`.

        Raises:
            FileNotFoundError: the folder holds no simulation.
        """
        return cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
