"""A linear model of the error that a customer's columns lead to expect at an equal prediction.

The target of a row is its excess error within its bin of equal prediction, in standard deviations, cut at ±`CUT`. The
model is a ridge regression with so strong a penalty that each column's weight hardly depends on the others: a sum of
many weak hints (which columns are missing, how often somebody buys), stable from one half of the customers to another.
Columns are the normalised ones, 0 where missing, and their missing flags; their units are comparable, so one penalty
serves all.

A row's value has the same bytes whatever batch it comes in.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import Floats, Ints
from ple_model.evaluation.uncertainty.ranking import level_bins, standardised

PENALTY = 10.0  # per row, on columns with a variance of about 1
CUT = 4.0  # standard deviations: one huge error would steer the weights otherwise
MIN_ROWS = 100  # in each quarter of the customers


def apply_weights(weights: Floats, columns: NDArray) -> NDArray[np.float64]:
    """[n, c] → [n] expected excess, up to a constant."""
    return np.einsum("ij,j->i", np.ascontiguousarray(columns, dtype=np.float64), np.asarray(weights, dtype=np.float64))


def excess_in_bins(excess: Floats, level: Floats) -> Floats:
    """[n] the target: excess within its bin of level, in standard deviations, cut."""
    return np.clip(standardised(excess, level_bins(level)), -CUT, CUT)


class RidgeParts:
    """Sums of the normal equations by part of the rows: a model of any parts costs one small solve.

    columns [n, c]; target [n]; part [n] integers from 0 to `parts` − 1.
    """

    def __init__(self, columns: NDArray, target: Floats, part: Ints, parts: int) -> None:
        self.rows = np.bincount(part, minlength=parts)
        c = columns.shape[1]
        self._sums = np.zeros((parts, c))
        self._targets = np.zeros(parts)
        self._squares = np.zeros((parts, c, c))
        self._products = np.zeros((parts, c))
        for one in range(parts):
            x = np.ascontiguousarray(columns[part == one], dtype=np.float32)
            y = target[part == one]
            self._sums[one] = x.sum(axis=0, dtype=np.float64)
            self._targets[one] = y.sum()
            self._squares[one] = x.T @ x
            self._products[one] = x.T.astype(np.float64) @ y

    def weights(self, parts: Iterable[int]) -> NDArray[np.float64]:
        """[c] weights of the model of these parts."""
        chosen = list(parts)
        n = float(self.rows[chosen].sum())
        mean = self._sums[chosen].sum(axis=0) / n
        covariance = self._squares[chosen].sum(axis=0) / n - np.outer(mean, mean)
        with_target = self._products[chosen].sum(axis=0) / n - mean * self._targets[chosen].sum() / n
        return np.linalg.solve(covariance + PENALTY * np.eye(len(mean)), with_target)
