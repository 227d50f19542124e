"""Each customer's days as a series: eight values for every day on which something was bought or money moved.

Only such days are stored; all others are known to be empty from the customer's first day on, and unknown before it.
Nothing is fitted here and nothing is scaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from feature_assets.data.contract import INFLOWS
from feature_assets.events.ragged import Events

CHANNELS = (
    "log1p number of lines bought",
    "log1p amount spent",
    "log1p amount of the largest line",
    "log1p number of different categories",
    "mean cosine of the hour of purchases",
    "mean sine of the hour of purchases",
    "log1p money received",
    "log1p money taken out other than by purchases",
)


@dataclass(frozen=True)
class DailySeries:
    """Days with an event at most `longest` days before t: those of customer i are `start[i]:start[i+1]`, oldest first.

    Attributes:
        start: int64 [n + 1].
        days_ago: int32 [U] ≥ 1.
        values: float32 [U, 8], `CHANNELS`.
        length: number of known days before t, at most `longest`: from joining, or from the first event; int64 [n].
        weekday: of the day before t, Monday 0.
    """

    start: np.ndarray
    days_ago: np.ndarray
    values: np.ndarray
    length: np.ndarray
    weekday: int


class _Bought(NamedTuple):
    """Purchase lines as the kernel reads them."""

    start: np.ndarray
    days_ago: np.ndarray
    amount: np.ndarray
    category: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray


class _Moved(NamedTuple):
    """Inflows and outflows as the kernel reads them: what each brings in, and what it takes out."""

    start: np.ndarray
    days_ago: np.ndarray
    inward: np.ndarray
    outward: np.ndarray


def daily_series(purchases: Events, money: Events, began: np.ndarray, longest: int) -> DailySeries:
    """The days of the last `longest` days.

    Args:
        purchases: purchase lines of these days.
        money: inflows and outflows of these days.
        began: day on which each customer's data begin, in days since 1970-01-01, int64 [n].
        longest: number of days.
    """
    angle = purchases.values("hour") * (2 * np.pi / 24)
    bought = _Bought(
        purchases.start,
        purchases.days_ago,
        np.maximum(np.nan_to_num(purchases.values("amount")), 0.0),
        purchases.codes("category_l1"),
        np.cos(angle),
        np.sin(angle),
    )
    amount, inward = np.maximum(np.nan_to_num(money.values("amount")), 0.0), money.is_in("kind", *INFLOWS)
    moved = _Moved(money.start, money.days_ago, np.where(inward, amount, 0.0), np.where(inward, 0.0, amount))
    start, days_ago, values = _merge(bought, moved, len(purchases.names("category_l1")))
    length = purchases.as_of - began
    some = np.diff(start) > 0
    length[some] = np.maximum(length[some], days_ago[start[:-1][some]])
    return DailySeries(start, days_ago, values, np.minimum(length, longest), (purchases.as_of + 2) % 7)


@njit(cache=True)
def _merge(bought: _Bought, moved: _Moved, categories: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`start`, `days_ago` and `values` of `DailySeries`, each day's lines and flows added in their order."""
    start, days_ago, amount, category = bought.start, bought.days_ago, bought.amount, bought.category
    flow_start, flow_days_ago = moved.start, moved.days_ago
    customers = start.size - 1
    most = days_ago.size + flow_days_ago.size
    offsets = np.zeros(customers + 1, dtype=np.int64)
    ages = np.empty(most, dtype=np.int32)
    values = np.zeros((most, 8), dtype=np.float32)
    seen = np.full(categories, -1, dtype=np.int64)
    used = 0
    for i in range(customers):
        j, f = start[i], flow_start[i]
        while j < start[i + 1] or f < flow_start[i + 1]:
            age = 0
            if j < start[i + 1]:
                age = days_ago[j]
            if f < flow_start[i + 1] and flow_days_ago[f] > age:
                age = flow_days_ago[f]
            lines, different = 0, 0
            spend, largest, x, y, inward, outward = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            while j < start[i + 1] and days_ago[j] == age:
                lines += 1
                spend += amount[j]
                largest = max(largest, amount[j])
                x += bought.cosine[j]
                y += bought.sine[j]
                if category[j] >= 0 and seen[category[j]] != used:
                    seen[category[j]] = used
                    different += 1
                j += 1
            while f < flow_start[i + 1] and flow_days_ago[f] == age:
                inward += moved.inward[f]
                outward += moved.outward[f]
                f += 1
            ages[used] = age
            values[used, 0] = np.log1p(lines)
            values[used, 1] = np.log1p(spend)
            values[used, 2] = np.log1p(largest)
            values[used, 3] = np.log1p(different)
            values[used, 4] = x / max(lines, 1)
            values[used, 5] = y / max(lines, 1)
            values[used, 6] = np.log1p(inward)
            values[used, 7] = np.log1p(outward)
            used += 1
        offsets[i + 1] = used
    return offsets, ages[:used].copy(), values[:used].copy()
