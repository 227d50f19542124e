"""The point cloud of a customer: one point for each purchase or session, (log amount, category rank, weekday, hour).

A purchase is a basket: its lines have one time, its category is that of its largest line. Weekday and hour are points
of the unit circle, so a point has six coordinates, each divided by the population's interquartile range over 1.349 (the
standard deviation where that is 0). The points are not centred, since distances do not depend on it. A session has no
amount; its category rank is the one after "other". Source: FEATURES §3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from feature_assets.events.purchases import top_by_spend
from feature_assets.events.view import View
from feature_assets.group import GroupState

YEAR = 365  # days that are looked at: the long window
CATEGORIES = 12  # ranks 0 … 11 by training spend, 12 any other, 13 sessions
COORDINATES = ("log_amount", "category_rank", "weekday_sin", "weekday_cos", "hour_sin", "hour_cos")
_MOST_FITTED = 200_000  # points that the scales are fitted on


@dataclass(frozen=True)
class Points:
    """M points of a View, customer by customer, oldest first."""

    start: np.ndarray  # int64 [customers + 1], first point of each customer
    days_ago: np.ndarray  # int64 [M], 1 … 365
    values: np.ndarray  # float64 [M, 6]

    def between(self, newest: int, oldest: int) -> tuple[np.ndarray, np.ndarray]:
        """First and last point of each customer that are `newest` to `oldest` days old, int64 [customers] each."""
        return _between(self.start, self.days_ago, newest, oldest)


def fit_scales(views: Sequence[View]) -> tuple[np.ndarray, list[str]]:
    """Scale of each coordinate, float64 [6], and the level-1 categories in the order of their rank."""
    categories = top_by_spend(views, "category_l1", CATEGORIES)
    every = np.concatenate([view.shared(_read, tuple(categories)).values for view in views])
    sample = every[:: max(1, len(every) // _MOST_FITTED)]
    scale = np.ones(len(COORDINATES))
    if len(sample):
        low, high = np.quantile(sample, [0.25, 0.75], axis=0)
        spread = np.where(high > low, (high - low) / 1.349, sample.std(axis=0))
        scale = np.where(spread > 1e-9, spread, 1.0)
    return scale, categories


@dataclass(frozen=True)
class Scales:
    """What the points of a View are made with: the scale of each coordinate, and the categories by rank."""

    scale: tuple[float, ...]
    categories: tuple[str, ...]

    @classmethod
    def of(cls, state: GroupState) -> Scales:
        """The scales of a fitted state."""
        return cls(tuple(state.arrays["scale"].tolist()), tuple(state.meta["categories"]))


def scaled_points(view: View, scales: Scales) -> Points:
    """The view's points under fitted scales; `view.shared` keeps them."""
    raw = view.shared(_read, scales.categories)
    return Points(raw.start, raw.days_ago, raw.values / np.array(scales.scale))


def _read(view: View, categories: tuple[str, ...]) -> Points:
    part, customers = view.recent_purchases(YEAR), view.customers.height
    baskets = part.group("basket_id")
    row, days_ago, facts = _purchases(
        part.start,
        baskets.number,
        *baskets.slots(),
        part.values("amount"),
        part.ranked("category_l1", categories),
        part.weekday(),
        part.values("hour"),
        part.days_ago.astype(np.int64),
    )
    if view.has("sessions"):
        visits = view.sessions.recent(YEAR)
        rank = np.full(len(visits.row), float(CATEGORIES + 1))
        more = np.column_stack([np.zeros(len(visits.row)), rank, visits.weekday(), visits.values("minute")])
        row, days_ago = np.concatenate([row, visits.row]), np.concatenate([days_ago, visits.days_ago])
        order = np.argsort(row * (YEAR + 1) + YEAR - days_ago, kind="stable")
        row, days_ago, facts = row[order], days_ago[order], np.concatenate([facts, more])[order]
    return Points(np.searchsorted(row, np.arange(customers + 1)), days_ago, _coordinates(facts))


@njit(cache=True)
def _purchases(
    lines: np.ndarray,
    number: np.ndarray,
    base: np.ndarray,
    most: int,
    amount: np.ndarray,
    rank: np.ndarray,
    weekday: np.ndarray,
    hour: np.ndarray,
    days_ago: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customer, age and (amount, rank, weekday, hour) of each basket, from its lines in order of time.

    The lines of customer c are `lines[c]:lines[c+1]`, their baskets `number` ≥ `base[c]`, at most `most` of them.
    """
    row, age = np.empty(amount.size, np.int64), np.empty(amount.size, np.int64)
    facts, largest = np.empty((amount.size, 4)), np.empty(amount.size)
    place, found = np.full(most, -1, np.int64), 0
    for c in range(base.size):
        begin = found
        for i in range(lines[c], lines[c + 1]):
            slot = number[i] - base[c]
            b = place[slot]
            if b < begin:
                b = found
                place[slot] = b
                found += 1
                row[b], age[b] = c, days_ago[i]
                facts[b, 0], facts[b, 1], facts[b, 2], facts[b, 3] = amount[i], rank[i], weekday[i], hour[i]
                largest[b] = amount[i]
            else:
                facts[b, 0] += amount[i]
                if amount[i] > largest[b]:
                    largest[b], facts[b, 1] = amount[i], rank[i]
    return row[:found], age[:found], facts[:found]


@njit(cache=True)
def _coordinates(facts: np.ndarray) -> np.ndarray:
    """(amount, rank, weekday, hour) → the six coordinates, one point after the other: the same bits in any shard."""
    points = np.empty((facts.shape[0], 6))
    week = np.empty((7, 2))
    for d in range(7):
        week[d, 0], week[d, 1] = np.sin(d * (2 * np.pi / 7)), np.cos(d * (2 * np.pi / 7))
    for i in range(facts.shape[0]):
        day, hour = int(facts[i, 2]), facts[i, 3] * (2 * np.pi / 24)
        points[i, 0] = np.log1p(max(facts[i, 0], 0.0))
        points[i, 1] = facts[i, 1]
        points[i, 2], points[i, 3] = week[day, 0], week[day, 1]
        points[i, 4], points[i, 5] = np.sin(hour), np.cos(hour)
    return points


@njit(cache=True)
def _between(start: np.ndarray, days_ago: np.ndarray, newest: int, oldest: int) -> tuple[np.ndarray, np.ndarray]:
    customers = start.size - 1
    first, last = np.empty(customers, np.int64), np.empty(customers, np.int64)
    for c in range(customers):
        i = start[c]
        while i < start[c + 1] and days_ago[i] > oldest:
            i += 1
        first[c] = i
        while i < start[c + 1] and days_ago[i] >= newest:
            i += 1
        last[c] = i
    return first, last
