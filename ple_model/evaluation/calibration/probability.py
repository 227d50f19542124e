"""Calibrators of probabilities: Platt scaling, softmax with biases, softmax over a table."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, softmax

from ple_model.evaluation.calibration.base import Calibrator, minimise
from ple_model.evaluation.kind import EPSILON, Floats, Ints

MIN_CLASS_ROWS = 10  # binary: fewer rows of the rarer class: identity
#: Prior of Platt scaling: the standard deviation of log-slope and intercept around the identity. A customer's rows say
#: much the same, so the likelihood is surer than it should be; on a tenth of the embedded data's validation customers
#: this prior has the lower log loss on test rows for identity, half and shifted logits alike, on all of them it costs
#: nothing. Beta calibration was level with it, isotonic regression worse everywhere.
PLATT_SPREAD = 0.5


class _Probabilities(Calibrator):
    @classmethod
    def fit(cls, x: Floats, y: NDArray) -> Calibrator:
        fitted = cls.likeliest(x, y)
        if fitted.loss(x, y) > cls.identity().loss(x, y):
            return cls.identity(len(y), "identity: the fitted map has a higher validation log loss")
        return fitted

    @classmethod
    @abstractmethod
    def likeliest(cls, x: Floats, y: NDArray) -> Self:
        """The map of the least log loss."""

    @abstractmethod
    def loss(self, x: Floats, y: NDArray) -> float:
        """Mean log loss of raw outputs."""

    def _clipped(self, x: Floats) -> Floats:
        return np.clip(self.apply(x), EPSILON, 1 - EPSILON)


@dataclass(frozen=True)
class BinaryCalibrator(_Probabilities):
    """σ(slope · logit + intercept)."""

    kind: ClassVar[str] = "binary"
    slope: float = 1.0
    intercept: float = 0.0
    rows: int = 0
    note: str = ""

    @classmethod
    def fit(cls, x: Floats, y: NDArray) -> Calibrator:
        rarer = int(min(y.sum(), len(y) - y.sum()))
        if rarer < MIN_CLASS_ROWS:
            return cls.identity(len(y), f"identity: {rarer} rows of the rarer class, {MIN_CLASS_ROWS} are needed")
        return super().fit(x, y)

    @classmethod
    def likeliest(cls, x: Floats, y: NDArray) -> Self:
        """Most likely slope and intercept under a normal prior of `PLATT_SPREAD` around the identity."""
        positives = y.sum()
        weight = 1 / (PLATT_SPREAD**2 * len(y))
        target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))

        def loss(theta: NDArray) -> tuple[float, NDArray]:
            z = theta[0] * x + theta[1]
            error = expit(z) - target
            slope, intercept = np.log(theta[0]), theta[1]
            value = -(target * log_expit(z) + (1 - target) * log_expit(-z)).mean()
            prior = weight * (slope**2 + intercept**2) / 2
            of_slope = (error * x).mean() + weight * slope / theta[0]
            return float(value + prior), np.array([of_slope, error.mean() + weight * intercept])

        slope, intercept = minimise(loss, 2)
        return cls(float(slope), float(intercept), len(y))

    def loss(self, x: Floats, y: NDArray) -> float:
        p = self._clipped(x)
        return float(-np.where(y == 1, np.log(p), np.log1p(-p)).mean())

    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        return expit(self.slope * np.asarray(outputs, dtype=np.float64) + self.intercept)


@dataclass(frozen=True)
class MulticlassCalibrator(_Probabilities):
    """softmax(slope · logits + bias); slope is 1 / temperature. An empty bias is 0 for every class."""

    kind: ClassVar[str] = "multiclass"
    slope: float = 1.0
    bias: tuple[float, ...] = ()
    rows: int = 0
    note: str = ""

    @classmethod
    def likeliest(cls, x: Floats, y: Ints) -> Self:
        """Most likely log-slope and biases under a unit normal prior on each: few rows stay close to the identity."""
        n, classes = x.shape
        one_hot = np.eye(classes)[y]

        def loss(theta: NDArray) -> tuple[float, NDArray]:
            slope, bias = theta[0], theta[1:]
            p = softmax(slope * x + bias, axis=1)
            prior = (np.log(slope) ** 2 + (bias**2).sum()) / (2 * n)
            value = -np.log(np.maximum(p[np.arange(n), y], 1e-300)).mean() + prior
            error = (p - one_hot) / n
            of_slope = (error * x).sum() + np.log(slope) / slope / n
            return float(value), np.concatenate([[of_slope], error.sum(0) + bias / n])

        theta = minimise(loss, 1 + classes)
        return cls(float(theta[0]), tuple(theta[1:].tolist()), n)

    def loss(self, x: Floats, y: Ints) -> float:
        return float(-np.log(self._clipped(x)[np.arange(len(y)), y]).mean())

    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        scaled = self.slope * np.ascontiguousarray(outputs, dtype=np.float64)
        return softmax(scaled + np.asarray(self.bias) if self.bias else scaled, axis=1)


@dataclass(frozen=True)
class ContrastiveCalibrator(_Probabilities):
    """softmax(slope · scores) over the whole brand table; slope is 1 / temperature."""

    kind: ClassVar[str] = "contrastive"
    slope: float = 1.0
    rows: int = 0
    note: str = ""

    @classmethod
    def likeliest(cls, x: Floats, y: Ints) -> Self:
        """Slope that makes softmax(slope · scores) the likeliest distribution of a positive drawn from its row."""
        own = (brand_shares(y, x.shape[1]) * x).sum(axis=1)

        def loss(theta: NDArray) -> tuple[float, NDArray]:
            z = theta[0] * x
            top = z.max(axis=1)
            power = np.exp(z - top[:, None])
            total = power.sum(axis=1)
            value = (top + np.log(total) - theta[0] * own).mean()
            return float(value), np.array([((power * x).sum(axis=1) / total - own).mean()])

        return cls(float(minimise(loss, 1)[0]), len(y))

    def loss(self, x: Floats, y: Ints) -> float:
        return float(-(brand_shares(y, x.shape[1]) * np.log(self._clipped(x))).sum(axis=1).mean())

    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        return softmax(self.slope * np.ascontiguousarray(outputs, dtype=np.float64), axis=1)


def brand_shares(positives: Ints, brands: int) -> NDArray[np.float64]:
    """[n, P] padded indices → [n, brands], each row uniform over its positives."""
    share = np.zeros((len(positives), brands))
    rows, columns = np.nonzero(positives >= 0)
    np.add.at(share, (rows, positives[rows, columns]), 1.0)
    return share / share.sum(axis=1, keepdims=True)
