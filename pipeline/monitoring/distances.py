"""How far binned counts lie from those of a reference: effect sizes, all columns at once.

- Population stability index, Σ (p − q) · ln(p / q), of shares to which half a row is added in every bin (an empty bin
  would make it infinite). The usual reading: below 0.1 little, from 0.25 much. A shift of a normal variable by δ
  standard deviations has about δ².
- Jensen–Shannon distance to base 2: 0 where the shares are equal, 1 where no bin is shared.

`noise` says how large the index gets where nothing changed but the sample: (1/n + 1/m) · χ² of bins − 1 degrees of
freedom (Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020). It is no test of a
night, only the size below which a small bank's index means nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HALF_A_ROW = 0.5


def table_of(counts: Sequence[Sequence[int]]) -> Floats:
    """Counts of C columns with up to B bins as [C, B]; bins that a column does not have are NaN."""
    table = np.full((len(counts), max((len(own) for own in counts), default=0)), np.nan)
    for row, own in zip(table, counts, strict=True):
        row[: len(own)] = own
    return table


def stability_index(counts: Floats, reference: Floats) -> Floats:
    """[C] population stability index of counts [C, B] against reference counts [C, B] (`table_of`)."""
    p, q = (_shares(table + HALF_A_ROW) for table in _used(counts, reference))
    return np.asarray(np.nansum((p - q) * np.log(p / q), axis=1))


def jensen_shannon(counts: Floats, reference: Floats) -> Floats:
    """[C] Jensen–Shannon distance, 0 to 1, of counts [C, B] to reference counts [C, B]."""
    p, q = (_shares(np.nan_to_num(table)) for table in _used(counts, reference))
    middle = (p + q) / 2
    p, q, middle = (np.where(own > 0, own, 1e-300) for own in (p, q, middle))
    divergence = p * np.log2(p / middle) + q * np.log2(q / middle)
    return np.asarray(np.sqrt(np.maximum(divergence.sum(axis=1) / 2, 0.0)))


def noise(counts: Floats, reference: Floats, rate: float) -> Floats:
    """[C] index that sampling alone exceeds in any of the C columns with at most the probability `rate`."""
    from scipy.stats import chi2

    counts, reference = _used(counts, reference)
    rows = 1 / np.maximum(np.nansum(counts, axis=1), 1) + 1 / np.maximum(np.nansum(reference, axis=1), 1)
    freedom = np.maximum((~np.isnan(counts)).sum(axis=1) - 1, 1)
    return np.asarray(rows * chi2.isf(rate / max(len(counts), 1), freedom))


def _used(counts: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Both tables with NaN in the bins that neither fills: they say nothing."""
    empty = ~(np.nan_to_num(counts) + np.nan_to_num(reference) > 0)
    return np.where(empty, np.nan, counts), np.where(empty, np.nan, reference)


def _shares(table: Floats) -> Floats:
    return np.asarray(table / np.maximum(np.nansum(table, axis=1, keepdims=True), 1e-12))
