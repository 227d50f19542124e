"""The mix of each customer's lines over a few codes (categories, channels), step by step, as log-ratios.

Lines lie together by customer (any order within); a customer's result depends on its own lines only.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def centred_log_ratios(
    row: np.ndarray, step: np.ndarray, codes: np.ndarray, rows: int, steps: int, prior: np.ndarray, strength: float
) -> np.ndarray:
    """Centred log-ratios of the smoothed shares of D codes, float64 [rows, steps, D]; NaN for a step without a line.

    share_c = (lines of c + strength · prior_c) / (lines + strength), the mean of the posterior under a Dirichlet
    prior; clr_c = log share_c − mean over codes of log share. Source: Aitchison 1982.

    Args:
        row: int64 [M] in [0, rows), ascending; step: int64 [M], lines outside of [0, steps) are left out.
        codes: int64 [M] in [0, D); lines with others are left out.
        prior: [D] > 0, of sum 1.
    """
    width = prior.size
    result = np.full((rows, steps, width), np.nan)
    counts, lines = np.zeros((steps, width)), np.zeros(steps)
    first = 0
    while first < row.size:
        last = first
        counts[:] = 0.0
        lines[:] = 0.0
        while last < row.size and row[last] == row[first]:
            if 0 <= step[last] < steps and 0 <= codes[last] < width:
                counts[step[last], codes[last]] += 1.0
                lines[step[last]] += 1.0
            last += 1
        for t in range(steps):
            if lines[t] > 0.0:
                mean = 0.0
                for c in range(width):
                    value = math.log((counts[t, c] + strength * prior[c]) / (lines[t] + strength))
                    result[row[first], t, c] = value
                    mean += value / width
                for c in range(width):
                    result[row[first], t, c] -= mean
        first = last
    return result
