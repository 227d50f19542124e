"""The fitted constants of the labels, measured on the first block: edges of the life stages, quantiles of spend, shares
of the categories. The probability of each label depends on them.

The definitions are those of `feature_assets.labels`; a test compares the two.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from feature_assets.closed import Closed
from feature_assets.data.horizon import LONG_WINDOWS
from feature_assets.labels.constants import ACTIVE_DAYS
from feature_assets.labels.quantiles import ecdf
from feature_assets.simulation.block import Block
from feature_assets.simulation.config import CATEGORIES
from feature_assets.simulation.world import World
from feature_assets.snapshots import NotEnoughHistory, plan

H = 28  # the label window in days


class OracleConfig(Closed):
    """Size of the oracle.

    Attributes:
        customers: bound of its sample.
        draws: Monte Carlo paths a customer.
        back: days between the end of the data and the last oracle date: the longest label window.
        weeks: number of dates, a week apart.
    """

    customers: int = 8_000
    draws: int = 200
    back: int = 84
    weeks: int = 2


class OracleConstants(Closed):
    """Values that labels fit on training windows.

    Attributes:
        days: day numbers of the oracle's as-of dates, latest first.
        stage_edges: ratio of spend to expected spend below which one declines, from which on one grows.
        spend_knots, spend_levels: the training quantile of log1p spend, by interpolation.
        category_shares: the population's share of spend in each of CATEGORIES.
    """

    days: tuple[int, ...]
    stage_edges: tuple[float, float]
    spend_knots: tuple[float, ...]
    spend_levels: tuple[float, ...]
    category_shares: tuple[float, ...]


def oracle_days(world: World, until: int, config: OracleConfig) -> tuple[int, ...]:
    """Day numbers of the as-of dates at which every label has matured by day `until`; empty if history is too short."""
    days = tuple(until - config.back - 7 * k for k in range(config.weeks))
    return days if min(days) > ACTIVE_DAYS and _training_days(world, until) else ()


def _training_days(world: World, until: int) -> list[int]:
    """The training snapshots of the labels as of day `until`."""
    first = world.config.first_day
    windows = {"short": H, "long": LONG_WINDOWS * H}
    try:
        snapshots = plan(first + timedelta(days=until), first, windows)
    except NotEnoughHistory:
        return []
    return [(t - first).days for t in snapshots.train]


def measure(world: World, block: Block, until: int, config: OracleConfig) -> OracleConstants:
    """Measure the constants on a block, over the training windows of the as-of day `until`."""
    days, p = world.calendar.days, block.purchases
    n = len(block.customers)
    cell = p.row * days + p.day
    spend = _running(np.bincount(cell, p.amount, n * days).reshape(n, days))
    bought = _running(np.bincount(cell, ~p.refund, n * days).reshape(n, days))
    ratios, logs = [], []
    training = _training_days(world, until)
    for t in training:
        known = block.customers.joined < t
        past, window = spend[:, t] - spend[:, t - ACTIVE_DAYS], spend[:, t + H] - spend[:, t]
        active = bought[:, t] - bought[:, t - ACTIVE_DAYS] > 0.5
        again = bought[:, t + H] - bought[:, t] > 0.5
        compared = known & active & again & (past > 0.005)
        ratios.append(window[compared] / (past[compared] * (H / ACTIVE_DAYS)))
        logs.append(np.log1p(np.maximum(window[known], 0.0)))
    low, high = np.quantile(np.concatenate(ratios), [1 / 3, 2 / 3])
    knots, levels = ecdf(np.concatenate(logs))
    inside = (p.day >= training[0]) & (p.day < training[-1] + H) & ~p.refund
    shares = np.bincount(p.category[inside], p.amount[inside], len(CATEGORIES))
    return OracleConstants(
        days=oracle_days(world, until, config),
        stage_edges=(float(low), float(high)),
        spend_knots=tuple(knots),
        spend_levels=tuple(levels),
        category_shares=tuple((shares / shares.sum()).tolist()),
    )


def _running(daily: np.ndarray) -> np.ndarray:
    """[n, D] → sums before each day, [n, D + 1]."""
    return np.concatenate([np.zeros((len(daily), 1)), np.cumsum(daily, axis=1)], axis=1)
