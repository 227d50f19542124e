"""What labels learn from training windows: vocabularies, shares, quantiles, edges. Source: DATA §3, LESSONS 20."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from feature_assets.closed import Closed
from feature_assets.data.tables import Tables
from feature_assets.labels import facts
from feature_assets.labels.tasks import (
    ACTIVE_DAYS,
    BRAND_CLASSES,
    CATEGORY_CLASSES,
    CYCLES,
    NBA_CLASSES,
    NONE,
    STAGES,
    TIMES,
    windows,
)
from feature_assets.snapshots import SnapshotPlan

KNOTS = 512  # quantiles of training spend between which spending_bucket interpolates
MAX_ROWS = 200_000  # (customer, date) rows behind quantiles and edges; more training dates are thinned evenly


class LabelState(Closed):
    """The fitted part of the labels.

    Attributes:
        fitted_until: no event at or after this day took part.
        classes: task → names of its classes, in the order of the class indices (brands: most frequent first).
        category_shares: population's share of spend of each class of spending_category.
        channel_shares: population's share of purchase lines of each class of channel, where the label is a lift over
            it (otherwise empty).
        brand_frequency: share of branded purchase lines of each brand of the vocabulary.
        spend_knots: strictly increasing log1p spends.
        spend_levels: the training quantile in [0, 1] of each knot (mid-rank where spends tie).
        stage_edges: ratio of spend in the window to spend expected from the past, below which a customer declines and
            from which on one grows: the terciles of the training rows.
    """

    fitted_until: date
    classes: dict[str, list[str]]
    category_shares: list[float]
    channel_shares: list[float]
    brand_frequency: list[float]
    spend_knots: list[float]
    spend_levels: list[float]
    stage_edges: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON can hold it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LabelState:
        """What `to_dict` gave. Raises ValueError on an unknown or missing key."""
        return cls(**values)


def fit_labels(tables: Tables, plan: SnapshotPlan) -> LabelState:
    """Fit on the training snapshots of `plan`, each task on the windows that are usable for it.

    A window of training never reaches past `plan.holdout_start`, so no later event can change the state.
    """
    days = windows(tables.dataset)
    dataset, h = tables.dataset, tables.dataset.horizon_days
    dates = [t for t in plan.train if t + timedelta(days=h) <= plan.holdout_start]
    first, last = min(dates), max(dates)
    lines = facts.window_lines(tables, first, (last - first).days + h)
    around = pl.concat(
        facts.purchases(tables, t, facts.known_customers(tables, t))
        for t in _thinned(dates, tables.frames["customers"].height)
    )
    departments, shares = _ranked(lines, "category_l1", CATEGORY_CLASSES, pl.col("amount").sum())
    brands, frequency = _ranked(lines, "brand", BRAND_CLASSES, pl.len())
    knots, levels = ecdf(around["spend"].clip(0.0).log1p().to_numpy())
    channels = list(dataset.channels)
    classes = {
        "life_stage": STAGES,
        "channel": channels,
        "timing": TIMES,
        "nba": [*_first_taken_up(tables, dates), NONE] if "nba" in days else [],
        "spending_category": departments,
        "consumption_cycle": CYCLES,
        "brand_prediction": brands,
    }
    return LabelState(
        fitted_until=last + timedelta(days=h),
        classes={task: names for task, names in classes.items() if task in days},
        category_shares=shares,
        channel_shares=_shares(lines["channel"], channels) if dataset.channel_label == "lift" else [],
        brand_frequency=frequency,
        spend_knots=knots,
        spend_levels=levels,
        stage_edges=_stage_edges(around, h),
    )


def _thinned(dates: Sequence[date], customers: int) -> list[date]:
    """Evenly spread dates, first and last included: at most about `MAX_ROWS` rows together, and at least two dates."""
    n = min(len(dates), max(2, MAX_ROWS // max(customers, 1)))
    return [dates[i] for i in np.linspace(0, len(dates) - 1, n).round().astype(int).tolist()]


def _ranked(lines: pl.DataFrame, column: str, size: int, weight: pl.Expr) -> tuple[list[str], list[float]]:
    """The `size` values of a column with most weight (ties by name), and their shares of the whole weight."""
    ranked = (
        lines.filter(pl.col(column).is_not_null())
        .group_by(column)
        .agg(weight.cast(pl.Float64).round(2).alias("weight"))
        .sort("weight", column, descending=[True, False])
        .with_columns(pl.col("weight") / pl.col("weight").sum())
        .head(size)
    )
    return ranked[column].to_list(), ranked["weight"].to_list()


def _shares(values: pl.Series, classes: list[str]) -> list[float]:
    """Share of each class among the values that are known (0 where none is)."""
    known = values.drop_nulls()
    return [int((known == name).sum()) / max(len(known), 1) for name in classes]


def _first_taken_up(tables: Tables, dates: Iterable[date]) -> list[str]:
    """What is most often newly taken up first in the training windows, most frequent first, then by name."""
    taken = pl.concat(facts.taken_up(tables, t) for t in dates)
    ranked = taken.group_by("taken").len().sort("len", "taken", descending=[True, False])
    return ranked["taken"].head(NBA_CLASSES).to_list()


def ecdf(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Knots and levels of the empirical distribution: np.interp over them gives the training quantile in [0, 1].

    Args:
        values: [N] training values, N ≥ 1.

    Returns:
        Strictly increasing knots (at most 512) and their levels; equal values share their mean level.
    """
    levels = np.linspace(0.0, 1.0, KNOTS)
    quantiles = np.quantile(values, levels)
    knots, position = np.unique(quantiles, return_inverse=True)
    mean = np.bincount(position, weights=levels) / np.bincount(position)
    return knots.tolist(), mean.tolist()


def spend_ratio(h: int) -> pl.Expr:
    """Spend in the window over the spend that the 56 days before t let expect for H days."""
    return pl.col("spend") / (pl.col("spend_past") * (h / ACTIVE_DAYS))


def _stage_edges(around: pl.DataFrame, h: int) -> tuple[float, float]:
    compared = around.filter(pl.col("active") & pl.col("bought_0") & (pl.col("spend_past") > 0))
    if compared.is_empty():
        return 1.0, 1.0
    ratio = compared.select(spend_ratio(h).alias("ratio"))["ratio"].to_numpy()
    low, high = np.quantile(ratio, [1 / 3, 2 / 3])
    return float(low), float(high)
