"""Rows whose prediction is so uncertain that a base rate stands in, where that makes predictions no worse.

The threshold of u is set on all validation rows, so that at least a stated share of them keeps its own prediction.
Above it the base rates of the clusters replace the predictions, but only if they do not err more: the paired difference
of errors on labelled validation rows above the threshold, with its interval over resampled customers, must not reach
above 0. Otherwise nothing falls back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, draw_counts, mean_statistic
from ple_model.evaluation.kind import Bools, Floats

COVERAGE = 0.98
UNTESTED = Interval(None, None, None, "not tested")


@dataclass(frozen=True)
class Fallback:
    """`threshold` of u, None where nothing falls back and `note` says why; `kept`, the share of validation rows that
    keep their own prediction; `change`, mean error of the base rates minus that of the predictions they replace."""

    threshold: float | None
    coverage: float
    kept: float = 1.0
    change: Interval = UNTESTED
    note: str = ""

    @classmethod
    def none(cls, coverage: float, note: str) -> Self:
        """Nothing falls back."""
        _check(coverage)
        return cls(None, coverage, note=note)

    @classmethod
    def fit(
        cls,
        u: Floats,
        mask: Bools,
        change: Floats,
        customers: NDArray,
        coverage: float,
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> Self:
        """From validation rows.

        Args:
            u: [n] of all of them.
            mask: [n] the labelled ones, of which there are m.
            change: [m] error of the base rate minus error of the prediction.
            customers: [m] ids.
            coverage: least share of all rows that keep their own prediction.
            resamples: of the interval.
            seed: of the draws.

        Raises:
            ValueError: coverage outside (0, 1].
        """
        _check(coverage)
        threshold = float(np.sort(u)[int(np.ceil(coverage * len(u) - 1e-9)) - 1])
        above = u[mask] > threshold
        if not above.any():
            return cls.none(coverage, "no labelled validation row above the threshold")
        whose = np.unique(np.asarray(customers)[above], return_inverse=True)[1].reshape(-1)
        count = int(whose.max()) + 1
        statistic = mean_statistic(change[above], whose, count)
        estimate = float(statistic(np.ones((1, count)))[0])
        if count < 2:
            return cls.none(coverage, "one customer only above the threshold")
        low, high = np.quantile(statistic(draw_counts(count, resamples, seed)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        tested = Interval(estimate, float(low), float(high))
        if high > 0:
            return cls(None, coverage, 1.0, tested, "base rates would not err less than the predictions they replace")
        return cls(threshold, coverage, float((u <= threshold).mean()), tested)

    def rows(self, u: Floats | None, count: int) -> Bools:
        """[count] rows that fall back."""
        if self.threshold is None or u is None:
            return np.zeros(count, dtype=bool)
        return np.asarray(u > self.threshold)

    def meaning(self) -> str:
        """For people."""
        if self.threshold is None:
            return f"always false: {self.note}"
        return (
            f"true where u is above {self.threshold:.2f} and the cluster's base rate stands in "
            f"({1 - self.kept:.1%} of validation rows)"
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From its fields as JSON holds them."""
        return cls(**{**data, "change": Interval(**data["change"])})


def _check(coverage: float) -> None:
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage {coverage} is outside (0, 1]")
