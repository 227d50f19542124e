"""Calibrators of values: an affine map with a conformal half-width, and one such map for each of several outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.calibration.base import SLOPES, Calibrator
from ple_model.evaluation.kind import Floats

CONFORMAL_LEVEL = 0.90
CONFORMAL_BINS = 5  # quintiles of the prediction
MIN_BIN_ROWS = 50  # fewer rows a bin: fewer bins


@dataclass(frozen=True)
class RegressionCalibrator(Calibrator):
    """clip(intercept + slope · x, floor, ceiling), and the conformal half-width of the bin that the result falls in.

    `floor`, `ceiling`: smallest and largest label that the map was fitted on (label's unit); None does not clip.
    `half_widths[i]` belongs to predictions in (edges[i−1], edges[i]]; without any, the half-width is infinite.
    On rows exchangeable with the validation rows, |label − prediction| ≤ half-width with probability ≥ `level`, in
    every bin.
    """

    kind: ClassVar[str] = "regression"
    slope: float = 1.0
    intercept: float = 0.0
    floor: float | None = None
    ceiling: float | None = None
    edges: tuple[float, ...] = ()
    half_widths: tuple[float, ...] = ()
    level: float = CONFORMAL_LEVEL
    rows: int = 0
    note: str = ""

    @classmethod
    def fit(cls, x: Floats, y: Floats, seed: int) -> RegressionCalibrator:
        """Affine map and bin edges from one half of the rows, residual quantiles from the other.

        The halves make the half-width valid at its finite-sample level: the residuals it is read from are those of a
        map that has not seen their labels.
        """
        order = np.random.default_rng(seed).permutation(len(y))
        fit, held = order[: len(y) // 2], order[len(y) // 2 :]
        centred = x[fit] - x[fit].mean()
        power = float((centred**2).sum())
        slope = float(np.clip((centred * y[fit]).sum() / power, *SLOPES)) if power > 0 else 1.0
        moved = cls(slope, float(y[fit].mean() - slope * x[fit].mean()), float(y[fit].min()), float(y[fit].max()))
        note = ""
        if ((moved.apply(x[fit]) - y[fit]) ** 2).mean() > ((x[fit] - y[fit]) ** 2).mean():
            moved, note = cls(), "no affine map: it has a higher validation error"
        predictions = moved.apply(x)
        bins = max(1, min(CONFORMAL_BINS, len(held) // MIN_BIN_ROWS))
        edges = np.unique(np.quantile(predictions[fit], np.linspace(0, 1, bins + 1)[1:-1]))
        which = np.searchsorted(edges, predictions[held], side="left")
        residual = np.abs(y[held] - predictions[held])
        # A bin can run short where predictions are tied; it then joins its left neighbour (the first one its right).
        while len(edges) and (short := np.bincount(which, minlength=len(edges) + 1)).min() < MIN_BIN_ROWS / 2:
            edges = np.delete(edges, max(int(short.argmin()) - 1, 0))
            which = np.searchsorted(edges, predictions[held], side="left")
        widths = [conformal_quantile(residual[which == b], CONFORMAL_LEVEL) for b in range(len(edges) + 1)]
        return cls(
            moved.slope,
            moved.intercept,
            moved.floor,
            moved.ceiling,
            tuple(edges.tolist()),
            tuple(widths),
            CONFORMAL_LEVEL,
            len(y),
            note,
        )

    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        moved = self.slope * np.asarray(outputs, dtype=np.float64) + self.intercept
        if self.floor is None and self.ceiling is None:
            return moved
        return np.clip(moved, self.floor, self.ceiling)

    def half_width(self, predictions: Floats) -> NDArray[np.float64]:
        """[n] half-width in the label's unit of *calibrated* predictions [n]."""
        if not self.half_widths:
            return np.full(np.shape(predictions), np.inf)
        return np.asarray(self.half_widths)[np.searchsorted(self.edges, predictions, side="left")]

    def uncertainty(self, predictions: Floats, label_range: float) -> NDArray[np.float64]:
        width = self.half_width(predictions)
        return np.clip(width / label_range, 0.0, 1.0) if label_range > 0 else np.ones(len(width))


@dataclass(frozen=True)
class OutputsCalibrator(Calibrator):
    """A `RegressionCalibrator` for each output of [n, O]; without any, the identity."""

    kind: ClassVar[str] = "outputs"
    outputs: tuple[RegressionCalibrator, ...] = ()
    rows: int = 0
    note: str = ""

    @classmethod
    def fit(cls, x: Floats, y: Floats, seed: int) -> OutputsCalibrator:
        fitted = tuple(RegressionCalibrator.fit(x[:, i], y[:, i], seed) for i in range(x.shape[1]))
        return cls(fitted, len(y))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        outputs = ({k: v for k, v in output.items() if k != "kind"} for output in fields["outputs"])
        fitted = tuple(RegressionCalibrator.from_fields(output) for output in outputs)
        return cls(**{**fields, "outputs": fitted})

    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        if not self.outputs:
            return np.array(outputs, dtype=np.float64)
        return np.stack([fitted.apply(outputs[:, i]) for i, fitted in enumerate(self.outputs)], axis=1)

    def uncertainty(self, predictions: Floats, label_range: float) -> NDArray[np.float64]:
        """The mean over outputs."""
        if not self.outputs:
            return np.ones(len(predictions))
        by_output = [fitted.uncertainty(predictions[:, i], label_range) for i, fitted in enumerate(self.outputs)]
        return np.mean(by_output, axis=0)


def conformal_quantile(residuals: Floats, level: float) -> float:
    """The ⌈(n + 1)·level⌉-th smallest of n residuals: the finite-sample quantile of split conformal prediction.

    Raises:
        ValueError: fewer residuals than a finite quantile needs (9 at a level of 0.9).
    """
    k = int(np.ceil((len(residuals) + 1) * level - 1e-9))
    if k > len(residuals):
        raise ValueError(f"{len(residuals)} residuals have no finite conformal quantile at {level}")
    return float(np.partition(residuals, k - 1)[k - 1])
