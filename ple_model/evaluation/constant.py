"""Predictions that use no features: what a model must beat to have learnt anything.

binary: the training base rate; multiclass: the class shares; regression: the mean; contrastive: the popularity of each
brand. Beside them, for brands only, the customer's own past purchases.
"""

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.metrics import Floats, Ints, Kind

# Purchases' worth of popularity added to a customer's own counts: few purchases say little against everybody's.
PRIOR_PURCHASES = 5.0


def constant_prediction(kind: Kind, labels: NDArray, mask: NDArray | None, width: int) -> NDArray[np.float64]:
    """The constant prediction for one row: shape () for binary and regression, [width] for the other two kinds.

    `labels`, `mask`: training rows, as for `metrics.evaluate`; `width`: number of classes or brands (ignored by the
    others). Class shares and popularity are smoothed by half a count, so that none is 0.

    Raises
        ValueError: no training row has a label.
    """
    labels = np.asarray(labels)
    if mask is not None:
        labels = labels[np.asarray(mask, dtype=bool)]
    if len(labels) == 0:
        raise ValueError(f"{kind}: no training row has a label, so there is no base rate")
    if kind in ("binary", "regression"):
        return np.asarray(labels.astype(np.float64).mean())
    indices = labels.astype(np.int64).reshape(-1)
    counts = np.bincount(indices[indices >= 0], minlength=width) + 0.5
    # Popularity is the probability that a row contains the brand; class shares sum to 1.
    return counts / (counts.sum() if kind == "multiclass" else len(labels) + 1.0)


def repeat(constant: Floats, rows: int) -> NDArray[np.float64]:
    """The same prediction for every row: [rows] or [rows, width]."""
    return np.broadcast_to(constant, (rows, *np.shape(constant))).copy()


def own_past_brands(past_counts: Ints | Floats, popularity: Floats) -> NDArray[np.float64]:
    """[n, M] the customer's own shares of past purchases, shrunk to popularity.

    `past_counts` [n, M]: purchases of each brand before the as-of date; `popularity` [M]: of `constant_prediction`.
    """
    counts = np.asarray(past_counts, dtype=np.float64)
    prior = PRIOR_PURCHASES * popularity / popularity.sum()
    return (counts + prior) / (counts.sum(axis=1, keepdims=True) + PRIOR_PURCHASES)
