"""Metrics of predicted intervals: how often they cover, how wide they are, and the score of the distribution behind.

CRPS, ∫ (F(z) − 1[y ≤ z])² dz, is in the label's unit and equals the absolute error where the distribution is a point
(Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007): of a normal distribution in
closed form (ibid., §4.2), of quantiles as twice the mean of their pinball losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ple_model.evaluation.kind import Floats

INTERVAL_METRICS = ("coverage", "width", "crps")


@dataclass(frozen=True)
class PredictedIntervals:
    """Low and high [n, 2] in the label's unit (of several outputs, of their sum), promised to hold a share `level` of
    the labels."""

    bounds: NDArray[np.float64]
    level: float

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1")
        if self.bounds.ndim != 2 or self.bounds.shape[1] != 2 or (self.bounds[:, 0] > self.bounds[:, 1]).any():
            raise ValueError(f"bounds {self.bounds.shape}: expected [n, 2], low first")

    def at(self, rows: NDArray) -> "PredictedIntervals":
        """Those of some rows."""
        return PredictedIntervals(self.bounds[rows], self.level)


def measure_intervals(labels: Floats, intervals: PredictedIntervals) -> dict[str, float | str]:
    """Share of labels [n] or [n, O] covered, mean width, and CRPS of the normal distribution whose central interval of
    that level this is."""
    low, high = np.asarray(intervals.bounds, dtype=np.float64).T
    y = labels if labels.ndim == 1 else labels.sum(axis=1)
    if len(low) != len(y):
        raise ValueError(f"{len(low)} intervals for {len(y)} labels")
    if not np.isfinite(intervals.bounds).all():
        return dict.fromkeys(INTERVAL_METRICS, "some bounds are infinite")
    scale = (high - low) / (2 * norm.ppf((1 + intervals.level) / 2))
    return {
        "coverage": float(((low <= y) & (y <= high)).mean()),
        "width": float((high - low).mean()),
        "crps": float(crps_of_normal((low + high) / 2, scale, y).mean()),
    }


def crps_of_normal(mean: Floats, scale: Floats, labels: Floats) -> Floats:
    """[n] CRPS of normal distributions; a scale of 0 is a point."""
    error = labels - mean
    z = np.divide(error, scale, out=np.zeros_like(error), where=scale > 0)
    score = scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return np.where(scale > 0, score, np.abs(error))


def crps_of_quantiles(levels: Sequence[float], quantiles: Floats, labels: Floats) -> Floats:
    """[n] CRPS of quantiles [n, q] at levels that are spread evenly over (0, 1)."""
    share = np.asarray(levels, dtype=np.float64)
    if quantiles.shape != (len(labels), len(share)):
        raise ValueError(f"quantiles {quantiles.shape} for {len(labels)} labels and {len(share)} levels")
    error = labels[:, None] - quantiles
    return 2 * np.maximum(share * error, (share - 1) * error).mean(axis=1)
