"""A night that trains nothing: hours, memory and disk of so many customers and events on so many cores."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from feature_assets.sources.blocks import KEYS_AT_A_TIME
from pipeline.capacity.measured import StepCost, measured
from pipeline.settings import Retention, Settings

AT_A_TIME: int = Settings.model_fields["customers_at_a_time"].default
MOST = 1e12
"""Customers, or events of one, above which a number is a slip."""


class PlanError(ValueError):
    """A question that has no answer; says which number is wrong, and what is expected."""


@dataclass(frozen=True)
class Load:
    """What a night has to read.

    Attributes:
        customers: ≥ 1.
        events: transactions of a customer in the delivery, ≥ 0.
        at_a_time: customers of a block.

    Raises:
        PlanError: a number is out of range.
    """

    customers: float
    events: float
    at_a_time: int = AT_A_TIME

    def __post_init__(self) -> None:
        for name, value, least in (
            ("customers", self.customers, 1),
            ("events of a customer", self.events, 0),
            ("customers at a time", self.at_a_time, 1),
        ):
            within(name, value, least)

    @property
    def all_events(self) -> float:
        """Transactions of all customers."""
        return self.customers * self.events

    @property
    def block(self) -> float:
        """Customers of a block."""
        return min(self.customers, self.at_a_time)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return math.ceil(self.customers / self.at_a_time)


def within(name: str, value: float, least: float) -> None:
    """Raises `PlanError` unless the value is a number from `least` to `MOST`."""
    if not least <= value <= MOST:
        raise PlanError(f"{name}: {value:g}, expected a number from {least:g} to {MOST:g}")


def work(cost: StepCost, load: Load) -> float:
    """Core-seconds of a step."""
    growth = (load.customers / measured().reference_customers) ** (cost.growth - 1)
    each = cost.customer + cost.event * load.events
    return cost.fixed + each * load.customers * growth + cost.search * load.all_events * math.log2(load.blocks)


def core_seconds(load: Load) -> dict[str, float]:
    """Work by step."""
    return {name: work(cost, load) for name, cost in measured().steps.items()}


def seconds(load: Load, cores: float = 2) -> dict[str, float]:
    """Wall-clock seconds by step, on so many free cores of one machine."""
    within("cores", cores, 1)
    steps = measured().steps
    return {name: used * _wall(steps[name], cores) for name, used in core_seconds(load).items()}


def _wall(cost: StepCost, cores: float) -> float:
    """Seconds of the wall clock a core-second (Amdahl)."""
    return 1 - cost.parallel + cost.parallel / cores


def memory(load: Load) -> dict[str, float]:
    """Largest resident bytes by step; only the largest counts."""
    found = {}
    for name, cost in measured().memory.items():
        block = load.block * (cost.block_customer + cost.block_event * load.events)
        keys = cost.key * min(load.all_events, KEYS_AT_A_TIME) if load.blocks > 1 else 0.0
        found[name] = cost.base + block + cost.customer * load.customers + keys
    return found


def disk(load: Load) -> dict[str, float]:
    """Bytes of what one night adds, by table."""
    return {
        name: cost.customer * load.customers + cost.event * load.all_events for name, cost in measured().disk.items()
    }


def kept(load: Load, retention: Retention) -> dict[str, float]:
    """Bytes in the home once as many nights ran as it keeps, by table; each night has a delivery of its own."""
    night = disk(load)
    nights: Mapping[str, int] = {
        "scores": retention.keep_nights,
        "features": retention.keep_features,
        "delivery": retention.keep_deliveries,
    }
    return {name: count * night[name] for name, count in nights.items()}
