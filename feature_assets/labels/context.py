"""The shared facts that label functions read: those of one snapshot, and those of the training windows.

Each fact is computed once, when a label first asks for it. How events become facts belongs to `facts.py` and
`assignments.py`; what a label makes of them belongs to its task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.labels import facts
from feature_assets.labels.constants import BRAND_CLASSES, CATEGORY_CLASSES
from feature_assets.labels.past import Past
from feature_assets.labels.state import LabelState

MAX_ROWS = 200_000  # (customer, date) rows behind quantiles and edges; more training dates are thinned evenly


@dataclass(frozen=True)
class Snapshot:
    """Facts around one as-of date t, for the N customers known before it.

    Attributes:
        tables: contract tables.
        as_of: t.
        state: what the labels learnt from training windows.
    """

    tables: Tables
    as_of: date
    state: LabelState

    @property
    def dataset(self) -> DatasetConfig:
        """The description of the data set."""
        return self.tables.dataset

    @property
    def horizon(self) -> int:
        """H, the label window in days."""
        return self.dataset.horizon_days

    @cached_property
    def known(self) -> pl.DataFrame:
        """`customer`, customer_id, joined_on of the customers known before t, by customer_id [N]."""
        return facts.known_customers(self.tables, self.as_of)

    @cached_property
    def past(self) -> Past:
        """What is known before t of the same customers, in the order of `known`."""
        return Past(View(self.tables, self.as_of))

    @cached_property
    def purchases(self) -> pl.DataFrame:
        """`facts.purchases`: purchases and spend around t [N]."""
        return facts.purchases(self.tables, self.as_of, self.known)

    @cached_property
    def active_days(self) -> pl.Series:
        """Days with a purchase or a session in [t, t + H) [N]."""
        return self.per_customer(facts.active_days(self.tables, self.as_of), "days").fill_null(0)

    @cached_property
    def lines(self) -> pl.DataFrame:
        """Purchase lines in [t, t + H), of all customers."""
        return facts.window_lines(self.tables, self.as_of, self.horizon)

    @cached_property
    def exposures(self) -> pl.DataFrame:
        """`facts.exposures`: campaign exposures in the campaign window, of all customers."""
        return facts.exposures(self.tables, self.as_of)

    def classes(self, task: str) -> list[str]:
        """Names of a task's classes before any are merged, in the order of their indices."""
        merged = self.state.merged.get(task)
        return self.state.classes[task] if merged is None else list(merged)

    def per_customer(self, frame: pl.DataFrame, column: str) -> pl.Series:
        """A column of a frame with one row a `customer` (or customer_id), in the order of `known`; null without
        a row [N]."""
        return self._joined(frame.select(_key(frame), column))[column]

    def _joined(self, frame: pl.DataFrame) -> pl.DataFrame:
        key = _key(frame)
        return self.known.select(key).join(frame, on=key, how="left", maintain_order="left")


def _key(frame: pl.DataFrame) -> str:
    return "customer" if "customer" in frame.columns else "customer_id"


@dataclass(frozen=True)
class Training:
    """Facts of the training windows.

    Attributes:
        tables: contract tables.
        dates: training snapshots whose windows of H days are usable, oldest first.
    """

    tables: Tables
    dates: tuple[date, ...]

    @property
    def dataset(self) -> DatasetConfig:
        """The description of the data set."""
        return self.tables.dataset

    @property
    def horizon(self) -> int:
        """H, the label window in days."""
        return self.dataset.horizon_days

    @cached_property
    def lines(self) -> pl.DataFrame:
        """Purchase lines of all training windows."""
        first, last = self.dates[0], self.dates[-1]
        return facts.window_lines(self.tables, first, (last - first).days + self.horizon)

    @cached_property
    def purchases(self) -> pl.DataFrame:
        """`facts.purchases` of evenly spread training snapshots, one below the other."""
        some = thinned(self.dates, self.tables.frames["customers"].height)
        return pl.concat(facts.purchases(self.tables, t, facts.known_customers(self.tables, t)) for t in some)

    @cached_property
    def categories(self) -> tuple[list[str], list[float]]:
        """The twelve categories with most spend, and their shares of it."""
        return ranked(self.lines, "category_l1", CATEGORY_CLASSES, pl.col("amount").sum())

    @cached_property
    def brands(self) -> tuple[list[str], list[float]]:
        """The most frequently bought brands, and their shares of the branded purchase lines."""
        return ranked(self.lines, "brand", BRAND_CLASSES, pl.len())


def thinned(dates: Sequence[date], customers: int) -> list[date]:
    """Evenly spread dates, first and last included: at most about `MAX_ROWS` rows together, and at least two dates."""
    n = min(len(dates), max(2, MAX_ROWS // max(customers, 1)))
    return [dates[i] for i in np.linspace(0, len(dates) - 1, n).round().astype(int).tolist()]


def ranked(lines: pl.DataFrame, column: str, size: int, weight: pl.Expr) -> tuple[list[str], list[float]]:
    """The `size` values of a column with most weight (ties by name), and their shares of the whole weight."""
    ranks = (
        lines.filter(pl.col(column).is_not_null())
        .group_by(column)
        .agg(weight.cast(pl.Float64).round(2).alias("weight"))
        .sort("weight", column, descending=[True, False])
        .with_columns(pl.col("weight") / pl.col("weight").sum())
        .head(size)
    )
    return ranks[column].to_list(), ranks["weight"].to_list()
