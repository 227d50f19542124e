"""What a night would say of a data set, without running one: rows, days, customers, labels, groups, cost.

Reads and validates the delivery and computes labels; no feature, no model. Printing belongs to `commands/data.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from feature_assets import labels, registry
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.local_time import local_clock, local_day
from feature_assets.data.quarantine import Validated
from feature_assets.data.tables import Tables
from feature_assets.snapshots import (
    NotEnoughCustomers,
    NotEnoughHistory,
    SnapshotPlan,
    plan,
    require_customers,
)
from feature_assets.sources import Ingested, ingest, read_delivery
from pipeline.intake import cost

DATES = 3  # on which base rates are shown
Log = Callable[[str], None]


def examine(dataset: DatasetConfig, folder: Path | None, log: Log) -> dict[str, Any]:
    """Everything that validation finds in a delivery, as plain values for a printer or JSON.

    Args:
        folder: of the delivery; None where the description names it.

    Raises:
        DeliveryError: the delivery cannot be read.
    """
    log("reading and validating")
    delivery = read_delivery(dataset, folder)
    ingested = ingest(delivery)
    tables = ingested.tables
    found: dict[str, Any] = {
        "name": dataset.name,
        "tables": [_table(result) for result in ingested.validated.values()],
        "set_aside": _set_aside(ingested),
        "notes": list(ingested.notes),
        "coverage": coverage(tables),
        "tasks": tasks(tables),
        "groups": groups(tables),
        "problems": [],
    }
    try:
        ingested.check_limits()
    except DeliveryError as error:
        found["problems"].append(str(error))
    made = _planned(tables, found["problems"])
    if made is not None:
        log("computing labels")
        state = _label_state(tables, made, found["problems"])
        if state is not None:
            found["tasks"] = tasks(tables, state.off)
            found["notes"] += state.merged_in_words()
            found["base_rates"] = base_rates(tables, made, state)
        size = sum(path.stat().st_size for path in set(delivery.files.values()))
        events = tables.frames["transactions"].height
        found["cost"] = cost.of_first_night(tables.frames["customers"]["joined_on"], made, size, events)
    return found


def _table(result: Validated) -> dict[str, Any]:
    return {
        "table": result.table,
        "rows": result.delivered,
        "dropped": result.dropped,
        "share": f"{result.dropped_share:.2%}",
        "limit": f"{result.limit_share:.2%}",
        "verdict": "too many are dropped" if result.over_limit else "good",
    }


def _set_aside(ingested: Ingested) -> list[dict[str, Any]]:
    return [
        {"reason": count.reason, "what is done": count.action, "rows": count.rows, "first of them": count.first}
        for result in ingested.validated.values()
        for count in result.counts
    ]


def coverage(tables: Tables) -> dict[str, Any]:
    """Days, customers and purchases of validated tables."""
    zone = tables.dataset.zone
    lines = tables.frames["transactions"].filter(pl.col("kind") == "purchase")
    days = lines.select(local_day(pl.col("at"), zone)).to_series()
    first, last = days.min(), days.max()
    _, clock = local_clock(lines["at"], zone)
    midnight = float((clock == 0).mean()) if len(clock) else 0.0
    baskets = lines.group_by("customer_id").agg(pl.col("basket_id").n_unique())["basket_id"]
    span = (last - first).days + 1 if isinstance(first, date) and isinstance(last, date) else 0
    return {
        "first purchase": str(first),
        "last purchase": str(last),
        "days": span,
        "days without a purchase": span - days.n_unique() if span else 0,
        "customers": tables.customers,
        "customers with a purchase": len(baskets),
        "median purchases of a customer": baskets.median(),
        "customers with one purchase": int((baskets == 1).sum()),
        "purchases at midnight": f"{midnight:.0%}",
        "as-of date": str(tables.dataset.covers_until),
    }


def tasks(tables: Tables, too_few: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, str]]:
    """Each task, whether it is on, and why not; `too_few`: why a training has not enough labels of a task."""
    off = labels.why_off(tables.dataset.switching_off(too_few))
    return [{"task": name, "state": "off" if why else "on", "why not": why} for name, why in off.items()]


def groups(tables: Tables) -> list[dict[str, Any]]:
    """Each feature group, how many of its columns the tables can feed, and what is missing for the others."""
    rows = []
    for group in registry.registry().values():
        lost = [source for source in group.sources if not tables.has(source)]
        fed = [] if lost else [c for c in group.columns if all(tables.has(source) for source in c.sources)]
        sources = [source for column in group.columns for source in column.sources]
        missing = lost or list(dict.fromkeys(source for source in sources if not tables.has(source)))
        on = "off" if lost or (group.columns and not fed) else "on"
        rows.append(
            {
                "group": group.name,
                "state": on,
                "columns": f"{len(fed)} of {len(group.columns)}",
                "missing": ", ".join(missing),
            }
        )
    return rows


def _planned(tables: Tables, problems: list[str]) -> SnapshotPlan | None:
    dataset = tables.dataset
    windows = labels.windows(dataset)
    if not windows:
        problems.append("no task is on: there is nothing to predict")
        return None
    try:
        made = plan(dataset.covers_until, dataset.covers_from, windows, min_history=dataset.active_days)
        require_customers(made, tables)
    except (NotEnoughHistory, NotEnoughCustomers) as error:
        problems.append(str(error))
        return None
    return made


def _label_state(tables: Tables, made: SnapshotPlan, problems: list[str]) -> labels.LabelState | None:
    """Of the training that a first night would run."""
    try:
        return labels.with_enough(tables, made, labels.fit_labels(tables, made))
    except labels.NotEnoughLabels as error:
        problems.append(str(error))
        return None


def base_rates(tables: Tables, made: SnapshotPlan, state: labels.LabelState) -> list[dict[str, Any]]:
    """Base rates of every label that there is enough of, on some dates, from the first training date to the last one
    that has matured."""
    dataset = tables.dataset
    until = dataset.covers_until
    rows: list[dict[str, Any]] = []
    for day in _spread(dataset.covers_from + timedelta(days=dataset.active_days), until, max(made.windows.values())):
        computed = labels.compute_labels(tables, day, state, known_until=until)
        for rate in labels.base_rates(computed.drop(state.off), state).iter_rows(named=True):
            value = rate["positive_rate"] if rate["positive_rate"] is not None else rate["mean"]
            rows.append(
                {
                    "task": rate["task"],
                    "date": str(day),
                    "labels": rate["labelled"],
                    "mean": None if value is None else round(value, 4),
                    "classes": rate["classes_present"],
                    "shares": rate["classes"] or [],
                    "note": rate["note"],
                }
            )
    order = [task.name for task in labels.every_task()]
    return sorted(rows, key=lambda row: (order.index(row["task"]), row["date"]))


def _spread(first: date, until: date, longest: int) -> Sequence[date]:
    last = until - timedelta(days=longest)
    steps = DATES - 1
    return sorted({first + (last - first) * i // steps for i in range(DATES)})
