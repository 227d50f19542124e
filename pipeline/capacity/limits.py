"""What is exhausted first while the customers grow: the night's hours, memory, disk, or a bound of the software."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.capacity.measured import measured
from pipeline.capacity.night import MOST, Load, disk, kept, memory, seconds, within
from pipeline.settings import Retention

ROWS = 2**32 - 1
"""Rows of one table that polars counts (its index has 32 bits)."""
OBJECT_BYTES = 5 * 2**40
"""Largest object of an object store of S3's kind."""
GIB, GB, HOUR = 2**30, 1e9, 3600.0


@dataclass(frozen=True)
class Machine:
    """What a night may use.

    Attributes:
        cores: free ones, of one machine.
        hours: from the delivery to the scores.
        memory_gib: of the machine, for the night.
        disk_gb: of the home.

    Raises:
        PlanError: a number is out of range.
    """

    cores: float = 2.0
    hours: float = 8.0
    memory_gib: float = 8.0
    disk_gb: float = 1_000.0

    def __post_init__(self) -> None:
        within("cores", self.cores, 1)
        for name, value in (("hours", self.hours), ("memory", self.memory_gib), ("disk", self.disk_gb)):
            within(name, value, 1e-3)


@dataclass(frozen=True)
class Limit:
    """One bound.

    Attributes:
        what: it bounds, in words.
        unit: of `needed` and `bound`.
        needed: by the night that is planned.
        bound: what there is.
        customers: from which on it is exceeded, with as many events each; None where no number of customers does.
        remedy: what moves it.
    """

    what: str
    unit: str
    needed: float
    bound: float
    customers: float | None
    remedy: str

    @property
    def exceeded(self) -> bool:
        """Whether the night that is planned needs more than there is."""
        return self.needed > self.bound


def limits(load: Load, machine: Machine, retention: Retention) -> list[Limit]:
    """Every bound, the one first that the fewest customers exceed."""

    def bound(what: str, unit: str, value: float, needed: Callable[[Load], float], remedy: str) -> Limit:
        return Limit(what, unit, needed(load), value, first_above(needed, value, load), remedy)

    def gib_of(step: str) -> Callable[[Load], float]:
        return lambda each: memory(each)[step] / GIB

    steps = {
        "the memory of ingestion": ("ingestion", "fewer customers_at_a_time"),
        "the memory of a block": ("block", "fewer customers_at_a_time"),
        "the memory of the scores": ("scores", "more memory: single columns of all customers are compared at once"),
    }
    found = [
        bound(
            "the night's hours on one machine",
            "hours",
            machine.hours,
            lambda each: sum(seconds(each, machine.cores).values()) / HOUR,
            "more cores",
        ),
        *(bound(what, "GiB", machine.memory_gib, gib_of(step), remedy) for what, (step, remedy) in steps.items()),
        bound(
            "the disk of the home",
            "GB",
            machine.disk_gb,
            lambda each: sum(kept(each, retention).values()) / GB,
            "more disk, or a shorter retention",
        ),
        bound(
            "the rows of one table",
            "transactions",
            ROWS,
            lambda each: each.all_events,
            "none: polars counts the rows of a table with 32 bits",
        ),
        bound(
            "the largest published file, the matrix of a night, as one object of an object store",
            "GB",
            OBJECT_BYTES / GB,
            lambda each: disk(each)["features"] * measured().matrix_share / GB,
            "a file system instead",
        ),
    ]
    return sorted(found, key=lambda limit: MOST if limit.customers is None else limit.customers)


def first_above(needed: Callable[[Load], float], bound: float, load: Load) -> float | None:
    """Customers from which on a night needs more than `bound`, to three digits; `needed` never falls with them."""
    if needed(replace(load, customers=MOST)) <= bound:
        return None
    low, high = 1.0, MOST
    while high > 1.001 * low:
        middle = (low * high) ** 0.5
        if needed(replace(load, customers=middle)) > bound:
            high = middle
        else:
            low = middle
    return high
