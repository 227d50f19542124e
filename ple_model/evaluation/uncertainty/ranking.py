"""Whether a signal ranks the errors of predictions that are equal: the test that an uncertainty has to pass.

Most of an error is known from the prediction alone: a probability of .5 errs more than one of .01, a large value more
than a small one. A signal that restates the prediction says nothing new, so it is compared within bins of equal
prediction, and with the *excess*: the error beyond what the prediction leads to expect (`EvaluatedKind.errors`,
`.expected_errors`, `.level`).

In each bin of rows of nearly equal level: the correlation of the signal's rank in the bin with the excess, both without
the straight line in the level that runs through them. The mean over bins, weighted by rows, is the statistic.

The excess is not ranked. A rank correlation would see the prediction again: for a rare event nearly every row is a
"no", whose squared error p² grows with p however well p is calibrated. A mean does not: at a calibrated p the expected
excess is 0 for every row, whatever the signal restates.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from ple_model.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, draw_counts
from ple_model.evaluation.kind import Floats, Ints, Statistic

BINS = 10
MIN_BIN_ROWS = 50  # fewer rows a bin: fewer bins
_TINY = 1e-12  # of values with a standard deviation of 1: nothing but rounding
_LEVEL, _SIGNAL, _EXCESS = 1, 2, 3
_MOMENTS = ((0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3))


def level_bins(level: Floats, most: int = BINS) -> Ints:
    """[n] bin of each row, from 0: at most so many of equal size by level; equal levels share a bin."""
    count = max(1, min(most, len(level) // MIN_BIN_ROWS))
    edges = np.unique(np.quantile(level, np.linspace(0, 1, count + 1)[1:-1])) if count > 1 else np.zeros(0)
    return np.unique(np.searchsorted(edges, level, side="left"), return_inverse=True)[1].reshape(-1)


def standardised(values: Floats, bins: Ints) -> Floats:
    """[n] values minus the mean of their bin, over its standard deviation where it has one."""
    rows = np.bincount(bins)
    centred = values - (np.bincount(bins, weights=values) / rows)[bins]
    spread = np.sqrt(np.bincount(bins, weights=centred**2) / rows)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0)[bins])


def ranking_statistic(signal: Floats, excess: Floats, level: Floats, customer: Ints) -> Statistic:
    """How often each customer counts [R, customers] → mean correlation over bins [R], in [−1, 1].

    Args:
        signal: [n] larger = more uncertain.
        excess: [n] error minus what the prediction leads to expect.
        level: [n] rows of equal prediction have equal levels.
        customer: [n] whose row it is, as integers from 0.
    """
    bins = level_bins(level)
    count, customers = int(bins.max()) + 1, int(customer.max()) + 1
    ranks = np.empty(len(bins))
    for one in range(count):
        ranks[bins == one] = rankdata(signal[bins == one])
    values = np.stack([np.ones(len(bins)), *(standardised(v, bins) for v in (level, ranks, excess))])
    cell = customer * count + bins
    sums = [np.bincount(cell, weights=values[i] * values[j], minlength=customers * count) for i, j in _MOMENTS]
    by_customer = np.stack(sums).reshape(len(_MOMENTS), customers, count).transpose(1, 0, 2).reshape(customers, -1)

    def statistic(counts: Floats) -> Floats:
        return _mean_correlation((counts @ by_customer).reshape(len(counts), len(_MOMENTS), count))

    return statistic


def error_ranking(
    signal: Floats,
    excess: Floats,
    level: Floats,
    customer: Ints,
    *,
    resamples: int = RESAMPLES,
    confidence: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """`ranking_statistic` of all rows, and its percentile interval over resampled customers.

    Args:
        signal: as `ranking_statistic`.
        excess: as `ranking_statistic`.
        level: as `ranking_statistic`.
        customer: as `ranking_statistic`.
        resamples: how many.
        confidence: coverage of the interval.
        seed: the same seed and customers give the same draws.
    """
    if len(signal) < MIN_BIN_ROWS:
        return Interval(None, None, None, f"{len(signal)} rows, {MIN_BIN_ROWS} are needed")
    if np.ptp(signal) == 0 or np.ptp(excess) == 0:
        return Interval(None, None, None, "the signal or the error does not vary")
    whose = np.unique(customer, return_inverse=True)[1].reshape(-1)
    customers = int(whose.max()) + 1
    statistic = ranking_statistic(signal, excess, level, whose)
    estimate = float(statistic(np.ones((1, customers)))[0])
    if customers < 2:
        return Interval(estimate, None, None, "one customer only: nothing to resample")
    drawn = statistic(draw_counts(customers, resamples, seed))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))


def _mean_correlation(sums: Floats) -> Floats:
    """Weighted sums [R, moments, bins] → [R]: partial correlations given the level, averaged over bins."""
    rows = sums[:, 0]
    weight = np.where(rows > 0, rows, 1.0)
    mean = {i: sums[:, _MOMENTS.index((0, i))] / weight for i in (_LEVEL, _SIGNAL, _EXCESS)}

    def moment(i: int, j: int) -> Floats:
        return np.asarray(sums[:, _MOMENTS.index((i, j))] / weight - mean[i] * mean[j])

    spread = moment(_LEVEL, _LEVEL)
    varies = spread > _TINY
    slope = {i: np.where(varies, moment(_LEVEL, i) / np.where(varies, spread, 1), 0.0) for i in (_SIGNAL, _EXCESS)}
    both = moment(_SIGNAL, _EXCESS) - slope[_SIGNAL] * slope[_EXCESS] * spread
    own = [np.maximum(moment(i, i) - slope[i] ** 2 * spread, 0.0) for i in (_SIGNAL, _EXCESS)]
    known = (own[0] > _TINY) & (own[1] > _TINY)
    correlation = np.where(known, both / np.where(known, np.sqrt(own[0] * own[1]), 1), 0.0)
    return np.asarray((rows * correlation).sum(axis=1) / rows.sum(axis=1))
