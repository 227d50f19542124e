"""Predictions that use no features: a model that does not beat them has learnt nothing.

binary: the training base rate; multiclass: the class shares; regression and uplift: the mean; contrastive: the
popularity of each brand. Beside them, for brands only, the customer's own past purchases.
"""

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import EvaluatedKind, Floats, Ints

# Purchases' worth of popularity added to a customer's own counts: few purchases say little against everybody's.
PRIOR_PURCHASES = 5.0
#: Added to every count, so that no class share and no popularity is 0.
SMOOTHING = 0.5


def constant_prediction(kind: EvaluatedKind, labels: NDArray, mask: NDArray | None, width: int) -> NDArray[np.float64]:
    """The constant prediction for one row: shape () where a prediction is a number, else [width].

    Args:
        kind: of the task.
        labels: of training rows, as for `metrics.evaluate`.
        mask: [n] bool, True = labelled; None takes all rows.
        width: number of classes, brands or outputs.

    Raises:
        ValueError: no training row has a label.
    """
    labels = np.asarray(labels)
    if mask is not None:
        labels = labels[np.asarray(mask, dtype=bool)]
    if len(labels) == 0:
        raise ValueError(f"{kind.name}: no training row has a label, so there is no base rate")
    return kind.constant(labels, width)


def smoothed_counts(labels: NDArray, width: int) -> NDArray[np.float64]:
    """[width] how often each index occurs among labels of any shape (negative = padding), plus `SMOOTHING`."""
    indices = labels.astype(np.int64).reshape(-1)
    return np.bincount(indices[indices >= 0], minlength=width).astype(np.float64) + SMOOTHING


def repeat(constant: Floats, rows: int) -> NDArray[np.float64]:
    """The same prediction for every row: [rows] or [rows, width]."""
    return np.broadcast_to(constant, (rows, *np.shape(constant))).copy()


def own_past_brands(past_counts: Ints | Floats, popularity: Floats) -> NDArray[np.float64]:
    """[n, M] the customer's own shares of past purchases, shrunk to popularity.

    Args:
        past_counts: [n, M], purchases of each brand before the as-of date.
        popularity: [M], of `constant_prediction`.
    """
    counts = np.asarray(past_counts, dtype=np.float64)
    prior = PRIOR_PURCHASES * popularity / popularity.sum()
    return (counts + prior) / (counts.sum(axis=1, keepdims=True) + PRIOR_PURCHASES)
