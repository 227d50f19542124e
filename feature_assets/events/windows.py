"""Sums, maxima and distinct counts over several windows at once, as plain arrays.

Sums are `sum_at`, which adds one item after the other: the same bits in any shard and with any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_assets.events.numbers import sum_at


class Windows:
    """Sums, maxima and distinct counts over several windows at once: each item is put into its age bucket once, and
    buckets are accumulated from the youngest to the oldest.

    Args:
        row: int64 [M], the customer of each item.
        days_ago: int [M] ≥ 1.
        rows: number of customers.
        days: ascending window lengths, W of them; results are [rows, W].
    """

    def __init__(self, row: np.ndarray, days_ago: np.ndarray, rows: int, days: Sequence[int]) -> None:
        self.rows, self.days, self._row = rows, tuple(days), row
        buckets = len(self.days) + 1  # the last one lies outside of every window
        self._bucket_of = np.searchsorted(self.days, np.arange(self.days[-1] + 2)).astype(np.int64)
        self._shape = (rows, buckets)
        self._cell = row * buckets + self._bucket(days_ago)

    def _bucket(self, days_ago: np.ndarray) -> np.ndarray:
        return self._bucket_of[np.minimum(days_ago, self.days[-1] + 1)]

    def sums(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Sum of `weights` [M] (or count) of the items of each window, float64 [rows, W]."""
        flat = sum_at(self._cell, weights, self._shape[0] * self._shape[1])
        return np.cumsum(flat.reshape(self._shape)[:, :-1], axis=1)

    def maxima(self, values: np.ndarray) -> np.ndarray:
        """Largest value of each window, float64 [rows, W], NaN where the window is empty."""
        flat = np.full(self._shape[0] * self._shape[1], -np.inf)
        np.fmax.at(flat, self._cell, values)
        result = np.maximum.accumulate(flat.reshape(self._shape)[:, :-1], axis=1)
        return np.where(np.isneginf(result), np.nan, result)

    def distinct(self, previous_days_ago: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Number of different values in each window, float64 [rows, W], from the age of each item's predecessor of the
        same value: an item counts in the windows that hold it and not its predecessor. `known` [M] drops nulls."""
        left = self._row * self._shape[1] + self._bucket(previous_days_ago)
        counts = np.flatnonzero(known & (left != self._cell))  # the others have their predecessor in the same bucket
        size = self._shape[0] * self._shape[1]
        flat = np.bincount(self._cell[counts], minlength=size) - np.bincount(left[counts], minlength=size)
        return np.cumsum(flat.reshape(self._shape)[:, :-1], axis=1).astype(np.float64)
