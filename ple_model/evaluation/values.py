"""Metrics of predicted values, over all outputs together. A text says why one is not defined on the rows at hand."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ple_model.evaluation.kind import Floats

FLAT_LABELS, FLAT_PREDICTIONS = "labels do not vary", "predictions do not vary"


def r2(x: Floats, y: Floats) -> float | str:
    """1 − Σ error² / Σ (y − mean)², each over all outputs."""
    spread = float(((y - y.mean(axis=0)) ** 2).sum())
    return 1.0 - float(((x - y) ** 2).sum()) / spread if spread > 0 else FLAT_LABELS


def spearman(x: Floats, y: Floats) -> float | str:
    """Correlation of ranks (ties share their mean rank), the mean over outputs."""
    pairs = list(zip(columns(x), columns(y), strict=True))
    if any(np.ptp(y) == 0 for _, y in pairs):
        return FLAT_LABELS
    if any(np.ptp(x) == 0 for x, _ in pairs):
        return FLAT_PREDICTIONS
    return float(np.mean([np.corrcoef(rankdata(x), rankdata(y))[0, 1] for x, y in pairs]))


def columns(values: NDArray) -> NDArray:
    """[n] or [n, O] → [O, n]: one row an output."""
    return np.atleast_2d(values.T)
