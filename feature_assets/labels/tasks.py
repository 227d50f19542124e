"""The tasks: names, kinds, windows, and the classes that no data decide. Source: DATA §3."""

from __future__ import annotations

from typing import Literal

import polars as pl

from feature_assets.data.dataset import DatasetConfig

Kind = Literal["binary", "regression", "multiclass", "contrastive"]

KINDS: dict[str, Kind] = {
    "ctr": "binary",
    "cvr": "binary",
    "engagement": "regression",
    "churn": "binary",
    "retention": "binary",
    "life_stage": "multiclass",
    "ltv": "regression",
    "balance_util": "regression",
    "channel": "multiclass",
    "timing": "multiclass",
    "nba": "multiclass",
    "spending_category": "multiclass",
    "consumption_cycle": "multiclass",
    "spending_bucket": "regression",
    "brand_prediction": "contrastive",
    "merchant_affinity": "regression",
}
"""Task → kind of its label, in the order of DATA §3."""

TASK_NAMES: tuple[str, ...] = tuple(KINDS)
CAMPAIGN_TASKS = ("ctr", "cvr")
LONG_TASKS = ("retention", "ltv")
LONG_WINDOWS = 3  # retention and ltv look at three consecutive windows

ACTIVE_DAYS = 56  # "active": a purchase in this many days before t
FAVOURITE_DAYS = 180  # how far back the favourite merchant is looked for
NBA_CLASSES = 11
NONE = "none"
CATEGORY_CLASSES = 12
BRAND_CLASSES = 500

STAGES = ["new", "growing", "steady", "declining", "dormant", "returning"]
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
TIMES = [f"{day} {hour:02d}–{hour + 6:02d}" for day in WEEKDAYS for hour in range(0, 24, 6)]
CYCLE_EDGES = [1, 2, 4, 7, 14, 28]  # first day of the second, third, … class
CYCLES = ["0 days", "1 day", "2–3 days", "4–6 days", "7–13 days", "14–27 days", "28+ days"]

DTYPES: dict[Kind, pl.DataType] = {
    "binary": pl.Int8(),
    "regression": pl.Float64(),
    "multiclass": pl.Int16(),
    "contrastive": pl.List(pl.Int32),
}
"""Kind → type of the label column."""


def windows(dataset: DatasetConfig) -> dict[str, int]:
    """Task → label window in days, without the tasks that are off for this data set.

    Source: DATA §2, §3.
    """
    h = dataset.horizon_days
    days = dict.fromkeys(TASK_NAMES, h)
    days |= dict.fromkeys(LONG_TASKS, LONG_WINDOWS * h)
    days |= dict.fromkeys(CAMPAIGN_TASKS, dataset.campaign_horizon_days)
    return {task: d for task, d in days.items() if task not in dataset.tasks_off}
