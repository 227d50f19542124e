"""What a night is expected to take, scaled from nights that were measured on two cores.

A first night: the embedded data (README, Measurements). A night of many customers: `benchmarks/large.py`
(docs/results/large.md).
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from feature_assets.snapshots import SnapshotPlan
from feature_assets.sources import Delivery, customers_of
from pipeline.settings import Settings

MEASURED_ROWS = 94_000
"""Training rows of the first night that was measured: 14.3 minutes, 4.7 GiB. What grows with the rows that are learnt
from, of which there are at most `max_training_rows`, is scaled; what all customers cost on the day is added."""
MINUTES = {"fixed": 3.0, "learning": 11.3, "customer": 5e-5}
GIB = {"fixed": 2.0, "learning": 2.7, "customer": 1.2e-5}
BYTES_A_ROW = 8_000  # of a training row in the lake: columns, side inputs, labels
LONG = 5.0
"""Minutes from which on a night is foretold."""


@dataclass(frozen=True)
class Cost:
    """minutes: on two free cores. gib: largest memory."""

    minutes: float
    gib: float


def of_scoring(customers: int, at_a_time: int) -> Cost:
    """A night that trains nothing: ingestion, features and scores of so many customers, in blocks."""
    return Cost(0.7 + MINUTES["customer"] * customers, 1.5 + 1e-4 * min(customers, at_a_time) + 2e-6 * customers)


def foretold(delivery: Delivery, settings: Settings) -> str:
    """What a long night will take, in words; empty where it is short, or where its customers are not counted yet."""
    customers = customers_of(delivery)
    cost = of_scoring(customers or 0, settings.customers_at_a_time)
    if customers is None or cost.minutes < LONG:
        return ""
    return (
        f"expected: about {cost.minutes:.0f} min and {cost.gib:.1f} GiB for {customers:,} customers, on two free cores"
    )


def of_first_night(joined_on: pl.Series, plan: SnapshotPlan, delivered_bytes: int) -> dict[str, Any]:
    """What a first night, with its training, is expected to take by the default settings.

    Args:
        joined_on: of all customers.
        plan: of its training.
        delivered_bytes: of the delivered files.
    """
    rows = sum(int((joined_on < day).sum()) for day in plan.refit_dates)
    defaults = Settings.model_fields
    learnt = min(rows, int(defaults["max_training_rows"].default))
    at_once = min(len(joined_on), int(defaults["customers_at_a_time"].default))
    share = learnt / MEASURED_ROWS
    minutes = MINUTES["fixed"] + MINUTES["learning"] * share + MINUTES["customer"] * len(joined_on)
    return {
        "training rows": learnt,
        "customers on training dates": rows,
        "training dates": len(plan.refit_dates),
        "minutes on two cores": round(minutes),
        "memory, GiB": round(GIB["fixed"] + GIB["learning"] * share + GIB["customer"] * at_once, 1),
        "disk, GiB": round((2 * delivered_bytes + learnt * BYTES_A_ROW) / 2**30, 1),
    }
