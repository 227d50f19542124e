"""Twelve statistics of a persistence diagram in one dimension, and six that compare a dimension with the diagram.

p = death − birth is a pair's persistence; lengths are in units of scaled distance.

In Vietoris–Rips every H0 pair is born at 0, which would make four of the twelve of FEATURES §3.3 constants or copies in
H0 (birth mean and std; death mean and std equal those of p), and its count is the number of points less one. They are
replaced, for H0, by: the count of pairs that outlive the population's median; the median and interquartile range of the
deaths; the largest step between consecutive deaths (the prominence gap, which indicates the number of clusters; Chazal,
Guibas, Oudot & Skraba 2013); and the number of clusters at half of the largest death (single linkage). The area of the
Betti curve is taken up to the population's median death (its whole area is the total persistence).

Sources: Edelsbrunner & Harer (2010), total persistence; Chintakunta et al. (2015), persistence entropy; Giusti et al.
(2015), area under the Betti curve; Bubenik (2015), landscapes: the L2 norm of all of them is √(Σ p³ / 12).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

H0 = (
    ("count", "pairs that outlive the population's median H0 pair", "count"),
    ("total", "total persistence Σ (death − birth)", "scaled distance"),
    ("max", "largest persistence", "scaled distance"),
    ("mean", "mean persistence", "scaled distance"),
    ("std", "standard deviation of persistence", "scaled distance"),
    ("entropy", "persistence entropy −Σ (p/Σp) ln (p/Σp)", "nats"),
    ("death_median", "median death", "scaled distance"),
    ("death_iqr", "interquartile range of the deaths", "scaled distance"),
    ("death_gap", "largest step between consecutive deaths", "scaled distance"),
    ("clusters", "single-linkage clusters at half of the largest death", "count"),
    ("betti_area", "area under the Betti curve up to the population's median death", "scaled distance"),
    ("landscape_norm", "L2 norm of the persistence landscapes, √(Σ p³ / 12)", "scaled distance^1.5"),
)
HIGHER = (
    ("count", "pairs", "count"),
    *H0[1:6],
    ("birth_mean", "mean birth", "scaled distance"),
    ("birth_std", "standard deviation of the births", "scaled distance"),
    ("death_mean", "mean death", "scaled distance"),
    ("death_std", "standard deviation of the deaths", "scaled distance"),
    *H0[10:],
)
WIDTH = len(H0)
ACROSS = (
    "max",  # largest persistence over the largest death of any dimension
    "mean",  # mean persistence over the same
    "std",  # standard deviation of persistence (n below) over the same
    "middle",  # persistence-weighted mean of (birth + death) / 2, over the same
    "death_median",  # median death, over the same
    "entropy",  # persistence entropy over ln(1 + pairs of all dimensions)
)
"""Cross-dimension statistics: free of scale, 0 for a dimension without pairs."""


def fit_levels(samples: Sequence[tuple[np.ndarray, np.ndarray]], dimensions: int) -> np.ndarray:
    """Population levels, float64 [dimensions, 2]: median persistence and median death; 1 where there is no pair.

    `samples`: (pairs, counts) of some customers, as of `rips_diagrams`.
    """
    levels = np.ones((dimensions, 2))
    for d in range(dimensions):
        found = []
        for pairs, counts in samples:
            real = np.arange(pairs.shape[1])[None, :] < counts.sum(axis=1)[:, None]
            found.append(pairs[real & (pairs[:, :, 2] == d)])
        every = np.concatenate(found).astype(np.float64)
        if len(every):
            levels[d] = np.median(every[:, 1] - every[:, 0]), np.median(every[:, 1])
    return levels


@njit(cache=True)
def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean (NaN without a value) and standard deviation (n − 1 below; NaN with fewer than two)."""
    n, total = values.size, 0.0
    for i in range(n):
        total += values[i]
    if n == 0:
        return np.nan, np.nan
    mean, square = total / n, 0.0
    for i in range(n):
        square += (values[i] - mean) ** 2
    return mean, np.sqrt(square / (n - 1)) if n > 1 else np.nan


@njit(cache=True)
def _quantile(ordered: np.ndarray, q: float) -> float:
    """Linear interpolation between order statistics (Hyndman & Fan type 7)."""
    place = q * (ordered.size - 1)
    low = int(np.floor(place))
    high = min(low + 1, ordered.size - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@njit(cache=True)
def statistics(pairs: np.ndarray, counts: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The twelve of each dimension, float64 [C, dimensions, 12], in the order of `H0` and `HIGHER`.

    A customer without any pair has NaN throughout. A dimension without pairs has 0 where that is what a sum, a count or
    a maximum of nothing is, and NaN for means, deviations and entropy.
    """
    clouds, dimensions = counts.shape
    result = np.full((clouds, dimensions, 12), np.nan)
    for c in range(clouds):
        if counts[c].sum() == 0:
            continue
        begin = 0
        for d in range(dimensions):
            n = counts[c, d]
            births = pairs[c, begin : begin + n, 0].astype(np.float64)
            deaths = pairs[c, begin : begin + n, 1].astype(np.float64)
            begin += n
            lengths, out = deaths - births, result[c, d]
            total, cubes, area, longest, outlive = 0.0, 0.0, 0.0, 0.0, 0
            for i in range(n):
                total += lengths[i]
                cubes += lengths[i] ** 3
                area += min(deaths[i], levels[d, 1]) - min(births[i], levels[d, 1])
                longest = max(longest, lengths[i])
                outlive += lengths[i] > levels[d, 0]
            out[0] = outlive if d == 0 else n
            out[1], out[2], out[10], out[11] = total, longest, area, np.sqrt(cubes / 12)
            out[3], out[4] = _moments(lengths)
            if n > 0:
                out[5] = _entropy(lengths, total)
            if d > 0:
                out[6], out[7] = _moments(births)
                out[8], out[9] = _moments(deaths)
            elif n > 0:
                ordered = deaths[::-1]  # births are 0: the pairs are in the order of their deaths
                out[6] = _quantile(ordered, 0.5)
                out[7] = _quantile(ordered, 0.75) - _quantile(ordered, 0.25)
                step, clusters = ordered[0], 1
                for i in range(n):
                    if i > 0:
                        step = max(step, ordered[i] - ordered[i - 1])
                    clusters += ordered[i] > 0.5 * ordered[n - 1]
                out[8], out[9] = step, clusters
    return result


@njit(cache=True)
def _entropy(lengths: np.ndarray, total: float) -> float:
    """−Σ p log p of the shares; a pair whose birth and death are one float32 number has no share."""
    entropy = 0.0
    for i in range(lengths.size):
        if lengths[i] > 0.0:
            share = lengths[i] / total
            entropy -= share * np.log(share)
    return max(entropy, 0.0)


@njit(cache=True)
def across(pairs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The six of `ACROSS` for each dimension, float64 [C, dimensions, 6]; all 0 for a customer without any pair."""
    clouds, dimensions = counts.shape
    result = np.zeros((clouds, dimensions, 6))
    for c in range(clouds):
        found = counts[c].sum()
        if found == 0:
            continue
        deaths = pairs[c, :found, 1].astype(np.float64)
        lengths = deaths - pairs[c, :found, 0]
        last, begin = deaths.max(), 0
        for d in range(dimensions):
            n = counts[c, d]
            if n == 0:
                continue
            part, ends, out = lengths[begin : begin + n], deaths[begin : begin + n], result[c, d]
            begin += n
            total, middle, square = 0.0, 0.0, 0.0
            for i in range(n):
                total += part[i]
                middle += part[i] * (ends[i] - 0.5 * part[i])
            for i in range(n):
                square += (part[i] - total / n) ** 2
            out[0], out[1], out[2] = part.max() / last, total / n / last, np.sqrt(square / n) / last
            out[3] = middle / total / last if total > 0.0 else ends.mean() / last
            out[4] = _quantile(np.sort(ends), 0.5) / last
            out[5] = _entropy(part, total) / np.log(1.0 + found)
    return result
