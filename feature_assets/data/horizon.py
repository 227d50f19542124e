"""How far labels look ahead: by default 28 days, and less where the data are too short for that.

A training needs days before its first snapshot, labels behind it, and as many again for the holdout (`days_needed`). A
horizon that the description states is never changed. Source: DATA §2.
"""

from __future__ import annotations

from datetime import date

from feature_assets.data.dataset import DatasetConfig

STEP = 7  # days between snapshots: weekly
HOLDOUT_WEEKS = 2  # holdout snapshots of the task with the longest window
LONG_WINDOWS = 3  # retention and ltv look at three consecutive windows
HORIZONS = (28, 21, 14, 7)
"""Days that labels may look ahead, whole weeks, in the order in which they are tried."""
LONG_TASKS = ("ltv", "retention")
"""Tasks whose labels look three horizons ahead: the first that too few days cost."""
CAMPAIGN_TASKS = ("ctr", "cvr")
CENSORED_DAYS = 28
"""A customer first seen in so many first days of the data may have joined earlier."""
ACTIVE_HORIZONS = 2
"""Horizons in which a customer with a purchase counts as active, and in which a campaign's answer counts."""


def days_needed(longest: int, min_history: int, step: int = STEP, holdout_weeks: int = HOLDOUT_WEEKS) -> int:
    """Days of data without which some task would have no training snapshot.

    Args:
        longest: label window in days.
        min_history: days of data before the first snapshot.
        step: days between snapshots.
        holdout_weeks: holdout snapshots on which even the longest window has matured.
    """
    steps = -(-longest // step)  # the longest window in whole steps, so that all dates lie on one grid
    return min_history + step * (2 * steps + holdout_weeks - 1)


def adapted(dataset: DatasetConfig, begin: date, end: date) -> tuple[DatasetConfig, tuple[str, ...]]:
    """The largest horizon for which data are long enough, and what is to be said of it.

    Where the smallest one is too long, the tasks that look three of them ahead are off; where that does not help, the
    plan of a training says how many days are missing.

    Args:
        dataset: with the tasks that the tables cannot answer switched off.
        begin: first day of the data.
        end: the day after the last one.

    Returns:
        The data set, unchanged where its description states a horizon or the days are enough; notes.
    """
    days, needed = (end - begin).days, _needed(dataset)
    if "horizon_days" in dataset.model_fields_set or days >= needed:
        return dataset, ()
    made = dataset
    for horizon in HORIZONS:
        made = _looking(dataset, horizon)
        if days >= _needed(made):
            break
    off: dict[str, str] = {}
    if days < _needed(made):
        long = LONG_WINDOWS * made.horizon_days
        why = f"its label looks {long} days ahead: {days} days of data are too few, {_needed(made)} are needed"
        off = {task: why for task in LONG_TASKS if task not in made.tasks_off}
        made = made.switching_off(off)
    note = (
        f"{days} days of data are too few for labels of {dataset.horizon_days} days, which need {needed}: labels look "
        f"{made.horizon_days} days ahead, and customers count as active for {made.active_days} days. State "
        "horizon_days to decide otherwise"
    )
    return made, (note, *(f"task {task} is off: {why}" for task, why in off.items()))


def _looking(dataset: DatasetConfig, horizon: int) -> DatasetConfig:
    """The data set with another horizon, and the spans that go with it unless they are stated."""
    spans = {"campaign_horizon_days": ACTIVE_HORIZONS * horizon, "active_days": ACTIVE_HORIZONS * horizon}
    unstated = {name: days for name, days in spans.items() if name not in dataset.model_fields_set}
    return dataset.model_copy(update={"horizon_days": horizon, **unstated})


def _needed(dataset: DatasetConfig) -> int:
    """Days that a training of the tasks that are on needs."""
    windows = [dataset.horizon_days]
    if any(task not in dataset.tasks_off for task in LONG_TASKS):
        windows.append(LONG_WINDOWS * dataset.horizon_days)
    if any(task not in dataset.tasks_off for task in CAMPAIGN_TASKS):
        windows.append(dataset.campaign_horizon_days)
    return days_needed(max(windows), dataset.active_days)
