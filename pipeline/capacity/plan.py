"""The plan of a deployment: what its nights take, what they cost, and what is exhausted first, as plain values."""

from dataclasses import asdict
from typing import Any

from pipeline.capacity.limits import GB, GIB, HOUR, Limit, Machine, limits
from pipeline.capacity.measured import measured
from pipeline.capacity.night import Load, core_seconds, disk, kept, memory, seconds, within
from pipeline.settings import Settings

NIGHTS_A_MONTH = 365 / 12


def plan(
    load: Load,
    machine: Machine,
    settings: Settings,
    core_hour: float | None = None,
    gb_month: float | None = None,
) -> dict[str, Any]:
    """Hours, cores, memory, storage and cost of a night, and its limits.

    Args:
        load: customers and events.
        machine: what there is.
        settings: of the deployment, for what is kept and how often it trains.
        core_hour, gb_month: prices, in any one currency; None: no such cost is told.

    Raises:
        PlanError: a price is negative.
    """
    for name, price in (("price of a core-hour", core_hour), ("price of a GB-month", gb_month)):
        if price is not None:
            within(name, price, 0)
    wall, work, peaks = seconds(load, machine.cores), core_seconds(load), memory(load)
    hours = sum(wall.values()) / HOUR
    stays, night = kept(load, settings.retention), disk(load)
    found = limits(load, machine, settings.retention)
    return {
        "customers": load.customers,
        "events_per_customer": load.events,
        "blocks": load.blocks,
        "machine": asdict(machine),
        "steps": [
            {"step": name, "hours": wall[name] / HOUR, "core_hours": work[name] / HOUR} for name in measured().steps
        ],
        "hours": hours,
        "core_hours": sum(work.values()) / HOUR,
        "memory_gib": max(peaks.values()) / GIB,
        "memory_by_step_gib": {name: peak / GIB for name, peak in peaks.items()},
        "storage": [{"table": name, "night_gb": night[name] / GB, "kept_gb": stays[name] / GB} for name in night],
        "kept_gb": sum(stays.values()) / GB,
        "training": training(settings),
        "cost": cost(machine.cores * hours, sum(stays.values()) / GB, settings, core_hour, gb_month),
        "fits": not any(limit.exceeded for limit in found),
        "limits": [asdict(limit) | {"exceeded": limit.exceeded} for limit in found],
        "first_limit": in_words(found[0], load),
        "assumptions": assumptions(load, settings),
    }


def training(settings: Settings) -> dict[str, float]:
    """Of one training: it learns from a bounded sample, so that it costs the same however many customers there are."""
    unit = measured().training
    share = settings.max_training_rows / unit.rows
    return {
        "every_days": settings.retrain_after_days,
        "rows": settings.max_training_rows,
        "hours_on_two_cores": (unit.minutes_fixed + unit.minutes * share) / 60,
        "memory_gib": unit.gib_fixed + unit.gib * share,
    }


def cost(
    core_hours: float, kept_gb: float, settings: Settings, core_hour: float | None, gb_month: float | None
) -> dict[str, float]:
    """Of a night, by what has a price: the machine's cores for its hours, its share of a training, what is kept."""
    trained = 2 * training(settings)["hours_on_two_cores"] / settings.retrain_after_days
    found: dict[str, float] = {}
    if core_hour is not None:
        found |= {"cores": core_hours * core_hour, "training": trained * core_hour}
    if gb_month is not None:
        found |= {"storage": kept_gb * gb_month / NIGHTS_A_MONTH}
    return found | ({"night": sum(found.values())} if found else {})


def in_words(limit: Limit, load: Load) -> str:
    """What becomes the limit first, in a sentence."""
    if limit.customers is None:
        return "nothing: no number of customers exceeds what there is"
    of = f"{limit.bound:,.4g} {limit.unit}"
    return (
        f"{limit.what}: above {rounded(limit.customers):,} customers with {load.events:g} events each a night needs "
        f"more than {of}. What moves it: {limit.remedy}."
    )


def rounded(number: float) -> int:
    """A number to two digits."""
    return int(float(f"{number:.2g}"))


def assumptions(load: Load, settings: Settings) -> list[str]:
    """What the figures hold under."""
    retention = settings.retention
    return [
        "an event is a row of transactions; of the other tables a customer has as many rows as in the bank simulation",
        "each night reads a full delivery of Parquet files and trains nothing; a training comes on top of its night",
        "the cores are those of one machine, free, and as fast as those of the measured runs; more than two were not "
        "measured (Amdahl's law from the shares that two cores showed)",
        f"{load.at_a_time:,} customers are in memory at a time (customers_at_a_time)",
        f"scores of {retention.keep_nights} nights, features of {retention.keep_features} and "
        f"{retention.keep_deliveries} deliveries are kept (retention); the delivered files themselves are not counted",
        "figures above a million customers are extrapolated; none was measured",
    ]
