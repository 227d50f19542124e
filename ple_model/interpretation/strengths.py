"""Strengths of sources: how far each of them moves the predictions of a task, over many rows."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ple_model.interpretation.attribution import Attribution
from ple_model.interpretation.sources import Sources


def strengths(found: Attribution, sources: Sources, values: NDArray[np.float32]) -> pl.DataFrame:
    """One row a source, the strongest first: source, family, strength, error, direction, share.

    strength: mean absolute contribution, in the task's unit; error: its standard error over the rows; direction: the
    rank correlation of a column's values with its contributions, in [−1, 1], null for a source that has no order or
    does not vary; share: of the sum of all strengths.

    Args:
        found: of R rows.
        sources: S sources.
        values: [R, c] of the columns, NaN where missing; the first c sources.
    """
    size = np.abs(found.contributions)
    strength = size.mean(axis=0)
    error = size.std(axis=0, ddof=1) / np.sqrt(len(size)) if len(size) > 1 else np.full(len(sources), np.nan)
    directions: list[float | None] = [
        direction(values[:, i], found.contributions[:, i]) if i < values.shape[1] else None for i in range(len(sources))
    ]
    frame = pl.DataFrame(
        {
            "source": sources.names,
            "family": sources.families,
            "strength": strength,
            "error": error,
            "direction": pl.Series(directions, dtype=pl.Float64),
            "share": strength / max(float(strength.sum()), 1e-12),
        }
    )
    return frame.sort("strength", descending=True, maintain_order=True)


def direction(values: NDArray[np.float32], contributions: NDArray[np.float64]) -> float | None:
    """Spearman correlation over rows with a value; None of fewer than three rows, or where either is constant."""
    from scipy.stats import rankdata

    given = ~np.isnan(values)
    x, y = values[given], contributions[given]
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
