"""The measured figures: unit costs, each with its source, and the nights that they were taken from or are held against.

An *event* is a row of the table of transactions; a customer's rows of the other tables are in the cost of a customer,
as many as the bank simulation writes.
"""

from functools import lru_cache
from pathlib import Path

from pydantic import Field

from feature_assets.closed import Closed
from feature_assets.yaml_file import read_mapping

FILE = Path(__file__).with_name("measured.yaml")


class StepCost(Closed):
    """Work of a step in core-seconds: `fixed + (customer + event·events a customer) · customers · (customers /
    reference)^(growth - 1) + search · events · log2(blocks)`.

    parallel: share of the work that several cores share; the rest is done by one. source: how it was measured.
    """

    fixed: float
    customer: float
    event: float = 0.0
    search: float = 0.0
    growth: float = 1.0
    parallel: float
    source: str


class MemoryCost(Closed):
    """Largest resident memory of a step in bytes: `base + block_customer · customers of a block + block_event · their
    events + customer · all customers + key · events whose keys are compared at once`, the last where there are several
    blocks."""

    base: float
    block_customer: float = 0.0
    block_event: float = 0.0
    customer: float = 0.0
    key: float = 0.0
    source: str


class DiskCost(Closed):
    """Bytes on disk of one night's table: `customer · customers + event · events`."""

    customer: float
    event: float = 0.0
    source: str


class TrainingCost(Closed):
    """A training on `rows` rows and two cores: minutes and GiB that grow with the rows, and those that do not.

    bytes_a_row: in the lake.
    """

    rows: int
    minutes_fixed: float
    minutes: float
    gib_fixed: float
    gib: float
    bytes_a_row: float
    source: str


class Run(Closed):
    """A night that was measured.

    Attributes:
        customers, events: how many, and transactions a customer.
        cores: of the machine.
        seconds: of the wall clock by step, and of the whole night; None where it was not noted.
        core_seconds: of the processors, the same.
        gib: largest resident memory.
        gigabytes: on disk, by table.
        fits: what was fitted to it; empty where the run took no part.
        source: machine, date, command, and what else ran there.
    """

    customers: int
    events: float
    cores: int
    seconds: dict[str, float] = Field(default_factory=dict)
    core_seconds: dict[str, float] = Field(default_factory=dict)
    gib: float | None = None
    gigabytes: dict[str, float] = Field(default_factory=dict)
    fits: str = ""
    source: str


class Measured(Closed):
    """Everything in `measured.yaml`. reference_customers, usual_events: where the steps' costs were fitted.
    matrix_share: of the bytes of the features of a night that are its matrix."""

    reference_customers: int
    usual_events: float
    steps: dict[str, StepCost]
    memory: dict[str, MemoryCost]
    disk: dict[str, DiskCost]
    matrix_share: float
    training: TrainingCost
    runs: tuple[Run, ...]


@lru_cache(maxsize=1)
def measured() -> Measured:
    """The figures of this release."""
    return Measured.model_validate(read_mapping(FILE))
