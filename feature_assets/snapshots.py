"""Plan of a training: as-of dates that train, dates that are held out, and the labels of each that may be used.

All dates lie a whole number of steps before the training date, so that they share its weekday. Training snapshots come
first, then a purge as long as the longest window, then the holdout. Fitted states see training snapshots only.

Once the holdout has done its work, a refit may learn from every date of the grid, with each label that had matured by
the training date.
Source: DATA §2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from feature_assets.data.horizon import HOLDOUT_WEEKS, STEP, days_needed
from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from feature_assets.events.view import View

MIN_HISTORY = 56  # days of data before the first snapshot: what churn and retention look back on
MIN_CUSTOMERS = 20  # with a purchase before the last training snapshot: two clusters of ten (`groups/components.py`)


class NotEnoughHistory(ValueError):
    """The as-of date is too early: some task would have no training snapshot. Names the earliest possible date."""


class NotEnoughCustomers(ValueError):
    """Too few customers to fit anything on, or to hold any out. Says how many there are and what to do."""


@dataclass(frozen=True)
class SnapshotPlan:
    """The snapshots of one training date.

    Attributes:
        as_of: the training date; no event at or after it is used, neither in features nor in labels.
        windows: task → label window in days.
        train: training snapshots, oldest first.
        holdout: later snapshots for early stopping, calibration and reported metrics, oldest first.
        holdout_start: s; no training label's window reaches past it.
        gap: snapshots between both, whose labels all reach past s: they neither train nor are held out, but a refit
            learns from them.
    """

    as_of: date
    windows: Mapping[str, int]
    train: tuple[date, ...]
    holdout: tuple[date, ...]
    holdout_start: date
    gap: tuple[date, ...] = ()

    @property
    def dates(self) -> tuple[date, ...]:
        """Training and holdout snapshots, oldest first."""
        return self.train + self.holdout

    @property
    def refit_dates(self) -> tuple[date, ...]:
        """Snapshots on which some label has matured by the training date, oldest first."""
        return self.train + self.gap + self.holdout

    def without(self, tasks: Collection[str]) -> SnapshotPlan:
        """The same dates without these tasks."""
        return replace(self, windows={task: days for task, days in self.windows.items() if task not in tasks})

    def matured(self, task: str, t: date) -> bool:
        """Whether the window of `task` at snapshot t has ended by the training date: a refit may use its label."""
        return t + timedelta(days=self.windows[task]) <= self.as_of

    def usable(self, task: str, t: date) -> bool:
        """Whether the label of `task` at snapshot t may be used in t's role."""
        end = t + timedelta(days=self.windows[task])
        if t < self.holdout_start:
            return end <= self.holdout_start
        return end <= self.as_of

    def role(self, customer_ids: pl.Series, t: date) -> pl.Series:
        """Role of each customer's row at t: "train", or in the holdout "validation" or "test" by a stable hash, so
        that no customer of the test rows took part in early stopping or calibration.

        Raises:
            ValueError: t is not a snapshot of the plan.
        """
        if t in self.train:
            return pl.repeat("train", len(customer_ids), eager=True).alias("role")
        if t not in self.holdout:
            raise ValueError(f"{t} is not a snapshot of the plan; its dates are {self.dates[0]} … {self.dates[-1]}")
        half = stable_shard("holdout:" + customer_ids.cast(pl.String), 2)
        return half.replace_strict({0: "validation", 1: "test"}, return_dtype=pl.String).alias("role")


def plan(
    as_of: date,
    covers_from: date,
    windows: Mapping[str, int],
    *,
    step: int = STEP,
    min_history: int = MIN_HISTORY,
    holdout_weeks: int = HOLDOUT_WEEKS,
) -> SnapshotPlan:
    """The snapshots of a training on `as_of`.

    Args:
        as_of: training date.
        covers_from: first local day of data.
        windows: task → label window in days.
        step: days between snapshots.
        min_history: days of data before the first snapshot.
        holdout_weeks: holdout snapshots on which even the longest window has matured.

    Raises:
        NotEnoughHistory: some task would have no training snapshot.
    """
    longest, shortest = max(windows.values()), min(windows.values())
    needed = days_needed(longest, min_history, step, holdout_weeks)
    earliest = covers_from + timedelta(days=needed)
    if as_of < earliest:
        days = max((as_of - covers_from).days, 0)
        raise NotEnoughHistory(
            f"as-of date {as_of} is too early to train: data begin on {covers_from}, which are {days} of the "
            f"{needed} days that are needed: a snapshot needs {min_history} days before it and a label of up to "
            f"{longest} days after it, once for training and once for the holdout. The earliest possible as-of date is "
            f"{earliest}."
        )
    steps = -(-longest // step)  # so that s lies on the grid
    start = as_of - timedelta(days=step * (steps + holdout_weeks - 1))
    first = covers_from + timedelta(days=min_history)
    grid = [as_of - timedelta(days=step * k) for k in range((as_of - first).days // step, 0, -1)]
    window = timedelta(days=shortest)
    return SnapshotPlan(
        as_of=as_of,
        windows=dict(windows),
        train=tuple(t for t in grid if t + window <= start),
        holdout=tuple(t for t in grid if t >= start and t + window <= as_of),
        holdout_start=start,
        gap=tuple(t for t in grid if t < start < t + window),
    )


def require_customers(made: SnapshotPlan, tables: Tables) -> None:
    """Refuse to train on fewer than `MIN_CUSTOMERS` customers with a purchase before the last training snapshot.

    Raises:
        NotEnoughCustomers: names their number, the day and the remedy.
    """
    last = made.train[-1]
    bought = int((View(tables, last).purchases.count() > 0).sum())
    if bought < MIN_CUSTOMERS:
        raise NotEnoughCustomers(
            f"{bought} customers have a purchase before {last}, the last training snapshot of as-of date {made.as_of}; "
            f"a training needs {MIN_CUSTOMERS}. Deliver the data of more customers, or take a later as-of date."
        )
