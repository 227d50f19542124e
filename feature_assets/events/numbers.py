"""Arithmetic that measures of events share: ratios, moments, entropies, slopes. Arrays in, arrays out.

Sums are `sum_at`, which adds one item after the other, and matrices are added column by column: the same bits in any
shard and with any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def changes(*keys: np.ndarray) -> np.ndarray:
    """Whether an item differs from the one before it in any of `keys` [M], bool [M]; the first one does."""
    fresh = np.zeros(len(keys[0]), dtype=np.bool_)
    fresh[:1] = True
    for key in keys:
        fresh[1:] |= key[1:] != key[:-1]
    return fresh


def runs(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of an ascending `key` [M], and the position of each item's value among them."""
    fresh = changes(key)
    return key[fresh], np.cumsum(fresh) - 1


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is not positive."""
    positive = whole > 0
    return np.where(positive, part / np.where(positive, whole, 1.0), np.nan)


def sum_at(row: np.ndarray, values: np.ndarray | None, n: int) -> np.ndarray:
    """Sum of `values` [M] (or count, where None) at each row, float64 [n]. The only place that calls `np.bincount` with
    weights: of no items it makes whole numbers, which cannot hold the NaN or the fraction that a caller puts there."""
    return np.bincount(row, values, minlength=n).astype(np.float64, copy=False)


def flat_rows(values: np.ndarray) -> np.ndarray:
    """[n, …] as [n, K], also where n is 0: a −1 in its shape has no meaning there, and numpy refuses it."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def moments(row: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (NaN without a value) and standard deviation (NaN with fewer than two) at each row, float64 [n] each."""
    count = sum_at(row, None, n)
    mean = ratio(sum_at(row, values, n), count)
    square = sum_at(row, (values - mean[row]) ** 2, n)
    return mean, np.where(count >= 2, np.sqrt(ratio(square, count)), np.nan)


def maximum(row: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Largest of `values` at each row, float64 [n]; NaN for rows without one; NaN values are skipped."""
    result = np.full(n, -np.inf)
    np.fmax.at(result, row, values)
    return np.where(np.isneginf(result), np.nan, result)


def entropy(parts: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of the shares of the columns of `parts` [n, K] ≥ 0; NaN where all are 0."""
    total = np.zeros(len(parts))
    for part in parts.T:
        total = total + part
    result = np.zeros(len(parts))
    for part in parts.T:
        share = np.where(part > 0, ratio(part, total), 1.0)
        result = result - share * np.log(share)
    return np.where(total > 0, result, np.nan)


def slope(levels: Sequence[np.ndarray]) -> np.ndarray:
    """Least-squares slope a step of levels [n] each, newest first, over those that are known; NaN with fewer than 3."""
    count, sum_x, sum_y = (np.zeros(len(levels[0])) for _ in range(3))
    for step, level in enumerate(levels):
        known = ~np.isnan(level)
        count, sum_x = count + known, sum_x - step * known
        sum_y = sum_y + np.where(known, level, 0.0)
    mean_x, mean_y = ratio(sum_x, count), ratio(sum_y, count)
    xx, xy = np.zeros(len(count)), np.zeros(len(count))
    for step, level in enumerate(levels):
        known = ~np.isnan(level)
        x = -step - mean_x
        xx = xx + np.where(known, x * x, 0.0)
        xy = xy + np.where(known, x * (level - mean_y), 0.0)
    return np.where(count >= 3, ratio(xy, xx), np.nan)


def spread(levels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation (from 3 on) and smallest of the known ones of levels [n] each, NaN without one."""
    count, total = np.zeros(len(levels[0])), np.zeros(len(levels[0]))
    least = np.full(len(count), np.nan)
    for level in levels:
        known = ~np.isnan(level)
        count, total, least = count + known, total + np.where(known, level, 0.0), np.fmin(least, level)
    mean, square = ratio(total, count), np.zeros(len(count))
    for level in levels:
        square = square + np.where(np.isnan(level), 0.0, (level - mean) ** 2)
    return mean, np.where(count >= 3, np.sqrt(ratio(square, count)), np.nan), least


def month_place(day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Day of the month from 0, and number of days of the month, of days since 1970-01-01: int64 each."""
    dates = day.astype("datetime64[D]")
    month = dates.astype("datetime64[M]")
    first, after = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]")
    return (dates - first).astype(np.int64), (after - first).astype(np.int64)
