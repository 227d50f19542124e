"""A convex mixture of two models' predictions, its weight found on validation rows.

Both halves are calibrated by themselves first, so that a half whose loss distorts probabilities is not marked down for
it; the mixture of their predictions is in probability space for classes and in the label's unit for values.

The weight w of the first half minimises, over the n labelled validation rows,

    n · loss(w) + PRIOR_NATS · (2w − 1)²

where loss is the mean log loss of the mixture, or for values its mean squared error over twice that of the plain mean
(the log likelihood of normal errors). Both are convex in w. The prior is worth `PRIOR_NATS` of likelihood in all, so it
decides where rows are few and says nothing where they are many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation import calibration
from ple_model.evaluation.calibration import Calibrator, fit_calibrator
from ple_model.evaluation.kind import EPSILON, EvaluatedKind, Floats
from ple_model.evaluation.metrics import take_rows

PRIOR_NATS = 5.0
DECIMALS = 2
"""The weight is rounded, so that what is shown is what is used."""
FIRST, SECOND = "network", "boosted trees"


@dataclass(frozen=True)
class Halves:
    """The two halves of one task.

    Attributes:
        network: calibrator of the network's raw outputs.
        trees: calibrator of the trees' predictions, read as raw outputs (`EvaluatedKind.outputs_of`).
        weight: share of the network in the blend; 1 where there is none.
        rows: labelled validation rows behind the weight.
    """

    network: Calibrator
    trees: Calibrator
    weight: float
    rows: int

    @classmethod
    def fit(
        cls,
        kind: EvaluatedKind,
        outputs: NDArray,
        trees: Floats,
        labels: NDArray,
        mask: NDArray,
        blend: bool = True,
    ) -> Self:
        """From validation rows.

        Args:
            kind: of the task.
            outputs: raw outputs of the network, as for `calibration.fit_calibrator`.
            trees: predictions of the trees in final form, before calibration.
            labels: as for `metrics.evaluate`.
            mask: as for `metrics.evaluate`.
            blend: False leaves the network alone: both calibrators, weight 1.
        """
        network = fit_calibrator(kind, outputs, labels, mask)
        other = fit_calibrator(kind, kind.outputs_of(trees), labels, mask)
        if not (blend and kind.blended):
            return cls(network, other, 1.0, 0)
        first, y = take_rows(kind, network.apply(outputs), labels, mask)
        second, _ = take_rows(kind, other.apply(kind.outputs_of(trees)), labels, mask)
        return cls(network, other, fit_weight(kind, first, second, y), len(y))

    def predictions(self, kind: EvaluatedKind, outputs: NDArray, trees: Floats) -> tuple[Floats, Floats]:
        """Calibrated predictions of the network and of the trees, each alone."""
        return self.network.apply(outputs), self.trees.apply(kind.outputs_of(trees))

    def mix(self, kind: EvaluatedKind, first: Floats, second: Floats) -> Floats:
        """The blend's raw outputs, from the two calibrated predictions of `predictions`."""
        return kind.outputs_of(self.weight * first + (1.0 - self.weight) * second)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "network": self.network.to_dict(),
            "trees": self.trees.to_dict(),
            "weight": self.weight,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The halves that `to_dict` described."""
        network, trees = (calibration.from_dict(data[name]) for name in ("network", "trees"))
        return cls(network, trees, float(data["weight"]), int(data["rows"]))


def fit_weight(kind: EvaluatedKind, first: Floats, second: Floats, labels: NDArray) -> float:
    """Share of `first` in [0, 1], rounded to `DECIMALS`; ½ without a single row.

    Args:
        kind: of the task.
        first: predictions of n labelled validation rows.
        second: the other model's, of the same rows.
        labels: of the same rows.
    """
    slope = _slope(kind, first, second, labels)
    low, high = 0.0, 1.0
    for _ in range(40):  # the slope of a convex function rises: halve the interval around its root
        middle = (low + high) / 2
        if slope(middle) > 0:
            high = middle
        else:
            low = middle
    return round((low + high) / 2, DECIMALS)


def objective(kind: EvaluatedKind, first: Floats, second: Floats, labels: NDArray, weight: float) -> float:
    """What `fit_weight` minimises, in nats; up to a constant."""
    prior = PRIOR_NATS * (2 * weight - 1) ** 2
    mixed = weight * first + (1 - weight) * second
    likelihood = kind.likelihood(mixed, labels)
    if likelihood is not None:
        return float(-np.log(np.maximum(likelihood, EPSILON)).sum() + prior)
    return float(((mixed - labels) ** 2).sum() / (2 * _scale(first, second, labels)) + prior)


def _slope(kind: EvaluatedKind, first: Floats, second: Floats, labels: NDArray) -> Callable[[float], float]:
    """Derivative of `objective` by the weight."""
    one, other = kind.likelihood(first, labels), kind.likelihood(second, labels)
    if one is not None and other is not None:
        gain = one - other

        def of_likelihood(weight: float) -> float:
            mixed = np.maximum(weight * one + (1 - weight) * other, EPSILON)
            return float(-(gain / mixed).sum() + PRIOR_NATS * 4 * (2 * weight - 1))

        return of_likelihood
    apart, left, scale = first - second, second - labels, _scale(first, second, labels)

    def of_squares(weight: float) -> float:
        error = (apart * (weight * apart + left)).sum()
        return float(error / scale + PRIOR_NATS * 4 * (2 * weight - 1))

    return of_squares


def _scale(first: Floats, second: Floats, labels: NDArray) -> float:
    """Mean squared error of the plain mean; 1 where it is 0 or there are no rows."""
    return float(((first / 2 + second / 2 - labels) ** 2).mean()) or 1.0 if len(labels) else 1.0


def apart(first: Floats, second: Floats) -> NDArray[np.float32]:
    """[n] how far two models' predictions lie from each other: |a − b|, half of its sum over classes or outputs."""
    distance = np.abs(first - second)
    return np.asarray(distance if distance.ndim == 1 else distance.sum(axis=1) / 2, dtype=np.float32)


def in_words(weight: float) -> str:
    """The blend of a task for people."""
    if weight == 1:
        return f"{FIRST} alone"
    if weight == 0:
        return f"{SECOND} alone"
    return f"{weight:.0%} {FIRST}, {1 - weight:.0%} {SECOND}"
