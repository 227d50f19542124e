"""Purchases grouped by customer and some value (merchant, product, basket, day …), as far back as the events reach."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from feature_assets.data.lines import Pairs
from feature_assets.events.columns import Population
from feature_assets.events.numbers import sum_at


class Grouped:
    """G groups that have a purchase, those of a customer together.

    It is kept on its events and does not hold them: a circle of the two would keep a finished View's arrays until
    Python looks for circles, which it seldom does among few and large objects.

    Args:
        pairs: the pairs of the whole data set.
        number: pair of each of the M purchases.
        days_ago: age of each, int32 [M].
        population: the customers.
    """

    def __init__(self, pairs: Pairs, number: np.ndarray, days_ago: np.ndarray, population: Population) -> None:
        self._pairs, self._days_ago, self._population = pairs, days_ago, population
        self.number = number
        """Pair of each purchase among those of the data set, int64 [M]: it names a group and orders nothing."""

    @cached_property
    def _seen(self) -> np.ndarray:
        pairs = len(self._pairs.owner)
        return np.flatnonzero(np.bincount(self.number, minlength=pairs + 1)[:pairs])

    @cached_property
    def row(self) -> np.ndarray:
        """Customer of each group, int64 [G]."""
        return self._population.row_of[self._pairs.owner[self._seen]]

    @cached_property
    def days_ago(self) -> np.ndarray:
        """Age of the youngest purchase of each group, int64 [G]."""
        youngest = np.zeros(len(self._pairs.owner) + 1, dtype=np.int64)
        youngest[self.number] = self._days_ago  # purchases are in the order of time: the last one stays
        return youngest[self._seen]

    def slots(self) -> tuple[np.ndarray, int]:
        """First pair of each customer, int64 [n], and the most pairs of one: `number` less the first is below it."""
        first, after = (self._pairs.start[self._population.customer_of + k] for k in (0, 1))
        return first, int((after - first).max(initial=0))

    def _all_sums(self, weights: np.ndarray | None) -> np.ndarray:
        pairs = len(self._pairs.owner)
        return sum_at(self.number, weights, pairs + 1)[:pairs]

    def sums(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Sum of `weights` [M] (or count) of the purchases of each group, float64 [G]."""
        return self._all_sums(weights)[self._seen]

    def largest(self, weights: np.ndarray) -> np.ndarray:
        """The largest sum of `weights` [M] ≥ 0 over a group of the customer, float64 [n]; 0 without a group."""
        sums = np.append(self._all_sums(weights), 0.0)  # one more, so that the last customers may have no group
        start = self._pairs.start
        largest = np.where(start[1:] > start[:-1], np.maximum.reduceat(sums, start[:-1]), 0.0)
        return largest[self._population.customer_of]
