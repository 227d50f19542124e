"""Metrics of predicted intervals: how often they cover, how wide they are, and the score of the distribution behind.

An interval is a half-width around a prediction with the share of labels that it promises to cover. CRPS, ∫ (F(z) −
1[y ≤ z])² dz, is in the label's unit and equals the absolute error where the distribution is a point (Gneiting and
Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007): of a normal distribution in closed form
(ibid., §4.2), of quantiles as twice the mean of their pinball losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ple_model.evaluation.kind import Floats

INTERVAL_METRICS = ("coverage", "width", "crps")


@dataclass(frozen=True)
class Intervals:
    """prediction ± half_width, [n] or [n, O] in the label's unit, promised to hold a share `level` of the labels."""

    half_width: NDArray[np.float64]
    level: float

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1")
        if (np.asarray(self.half_width) < 0).any():
            raise ValueError("a half-width is below 0")

    def at(self, rows: NDArray) -> "Intervals":
        """Those of some rows."""
        return Intervals(np.asarray(self.half_width)[rows], self.level)


def measure_intervals(predictions: Floats, labels: Floats, intervals: Intervals) -> dict[str, float | str]:
    """Share of labels covered, mean width, and CRPS of the normal distribution that has these intervals."""
    half = np.asarray(intervals.half_width, dtype=np.float64)
    if half.shape != predictions.shape:
        raise ValueError(f"half-widths {half.shape} for predictions {predictions.shape}")
    if not np.isfinite(half).all():
        return dict.fromkeys(INTERVAL_METRICS, f"{(~np.isfinite(half)).sum()} half-widths are infinite")
    scale = half / norm.ppf((1 + intervals.level) / 2)
    return {
        "coverage": float((np.abs(labels - predictions) <= half).mean()),
        "width": float(2 * half.mean()),
        "crps": float(crps_of_normal(predictions, scale, labels).mean()),
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
