"""Do predicted values add up to what was observed? The ratio of the two totals, with its interval by customer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import LEVEL, RESAMPLES
from ple_model.evaluation.kind import Floats


@dataclass(frozen=True)
class Totals:
    """Sums over the same rows, in the unit of the values; `ratio` = predicted / observed and its percentile interval,
    None where nothing was observed."""

    rows: int
    predicted: float
    observed: float
    ratio: float | None
    low: float | None
    high: float | None


def compare_totals(
    predicted: Floats,
    observed: Floats,
    customers: NDArray | Sequence[Any],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Totals:
    """Totals of predicted and observed values [n] ≥ 0; whole customers are drawn with replacement."""
    _, customer = np.unique(np.asarray(customers), return_inverse=True)
    sums = np.stack([np.bincount(customer, values) for values in (predicted, observed)], axis=1)
    total = sums.sum(axis=0)
    ratio = low = high = None
    if total[1] > 0:
        ratio = float(total[0] / total[1])
        drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), resamples) @ sums
        seen = drawn[drawn[:, 1] > 0]
        low, high = np.quantile(seen[:, 0] / seen[:, 1], [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Totals(len(customer), float(total[0]), float(total[1]), ratio, low, high)
