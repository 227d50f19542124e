"""What a delivery is expected to take, said before it is read: by the unit costs of `pipeline/capacity`."""

from typing import Any

import polars as pl

from feature_assets.snapshots import SnapshotPlan
from feature_assets.sources import Delivery, customers_of, events_of
from pipeline.capacity.limits import GIB
from pipeline.capacity.measured import measured
from pipeline.capacity.night import AT_A_TIME, Load, memory, seconds
from pipeline.settings import Settings

LONG = 5.0
"""Minutes from which on a night is foretold."""


def foretold(delivery: Delivery, settings: Settings) -> str:
    """What a long night will take, in words; empty where it is short, or where its customers are not counted yet."""
    customers = customers_of(delivery)
    if not customers:
        return ""
    rows = events_of(delivery)
    events = measured().usual_events if rows is None else rows / customers
    load = Load(customers, events, settings.customers_at_a_time)
    minutes, gib = _night(load)
    if minutes < LONG:
        return ""
    return f"expected: about {minutes:.0f} min and {gib:.1f} GiB for {customers:,} customers, on two free cores"


def of_first_night(joined_on: pl.Series, plan: SnapshotPlan, delivered_bytes: int, events: int) -> dict[str, Any]:
    """What a first night, with its training, is expected to take by the default settings.

    Args:
        joined_on: of all customers.
        plan: of its training.
        delivered_bytes: of the delivered files.
        events: delivered transactions.
    """
    unit = measured().training
    rows = sum(int((joined_on < day).sum()) for day in plan.refit_dates)
    learnt = min(rows, int(Settings.model_fields["max_training_rows"].default))
    share = learnt / unit.rows
    minutes, gib = _night(Load(len(joined_on), events / len(joined_on), AT_A_TIME))
    return {
        "training rows": learnt,
        "customers on training dates": rows,
        "training dates": len(plan.refit_dates),
        "minutes on two cores": round(minutes + unit.minutes_fixed + unit.minutes * share),
        "memory, GiB": round(max(gib, unit.gib_fixed + unit.gib * share), 1),
        "disk, GiB": round((2 * delivered_bytes + learnt * unit.bytes_a_row) / GIB, 1),
    }


def _night(load: Load) -> tuple[float, float]:
    """Minutes on two free cores, and GiB, of a night that trains nothing."""
    return sum(seconds(load).values()) / 60, max(memory(load).values()) / GIB
