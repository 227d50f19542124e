"""Base rates of the labels, to be compared with those that DATA §4 expects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.labels import facts
from feature_assets.labels.registry import every_task
from feature_assets.labels.state import LabelState
from feature_assets.labels.task import Task

RATES_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "task": pl.String,
    "kind": pl.String,
    "labelled": pl.Int64,
    "positive_rate": pl.Float64,
    "mean": pl.Float64,
    "classes_present": pl.Int64,
    "classes": pl.List(pl.Struct({"class": pl.String, "share": pl.Float64})),
    "note": pl.String,
}


def base_rates(labels: pl.DataFrame, state: LabelState) -> pl.DataFrame:
    """One row a task: kind, `labelled` rows, `positive_rate` (binary), `mean` (regression, label's unit; brands: mean
    number of distinct brands), `classes_present` (multiclass, brands), `classes` (the share of the labelled rows
    with each class, by its name, the most frequent first), note."""
    classes = state.classes
    on = [task for task in every_task() if task.name in labels.columns]
    rows = [_rate(task, labels[task.name], classes.get(task.name, ())) for task in on]
    return pl.DataFrame(rows, schema=RATES_SCHEMA)


def _rate(task: Task, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
    known = label.drop_nulls()
    row: dict[str, Any] = dict.fromkeys(RATES_SCHEMA)
    row |= {"task": task.name, "kind": task.kind.name, "labelled": known.len(), "note": ""}
    return row | (task.kind.rate(known, classes) if known.len() else {"note": "no row has a label"})


def exposure_rates(tables: Tables, t: date) -> pl.DataFrame:
    """Exposures (customer × campaign) that start in [t, t + campaign horizon).

    Returns:
        Two rows, `exposures_of` "all kinds" and "kinds with a click label": exposures, customers, and the shares of
        exposures and of exposed customers that converted and clicked in the window: converted, converted_customers,
        clicked, clicked_customers. No row where the data set has no campaigns.
    """
    if not all(tables.has(table) for table in ("campaigns", "campaign_events")):
        return pl.DataFrame()
    exposed = facts.exposures(tables, t)
    clickable = exposed.filter(~pl.col("kind").is_in(list(tables.dataset.click_kinds_off)))
    return pl.concat([_exposure_row("all kinds", exposed), _exposure_row("kinds with a click label", clickable)])


def _exposure_row(name: str, exposed: pl.DataFrame) -> pl.DataFrame:
    by_customer = exposed.group_by("customer_id").agg(pl.col("converted", "clicked").any())
    return pl.DataFrame(
        {
            "exposures_of": name,
            "exposures": exposed.height,
            "customers": by_customer.height,
            "converted": exposed["converted"].mean(),
            "converted_customers": by_customer["converted"].mean(),
            "clicked": exposed["clicked"].mean(),
            "clicked_customers": by_customer["clicked"].mean(),
        }
    )
