"""Calibrators of values: an affine map, and one such map for each of several outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.calibration.base import SLOPES, Calibrator
from ple_model.evaluation.kind import Floats


@dataclass(frozen=True)
class RegressionCalibrator(Calibrator):
    """clip(intercept + slope · x, floor, ceiling).

    `floor`, `ceiling`: smallest and largest label that the map was fitted on (label's unit); None does not clip.
    """

    kind: ClassVar[str] = "regression"
    slope: float = 1.0
    intercept: float = 0.0
    floor: float | None = None
    ceiling: float | None = None
    rows: int = 0
    note: str = ""

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> RegressionCalibrator:
        """The affine map of the least squared error."""
        centred = x - x.mean()
        power = float((centred**2).sum())
        slope = float(np.clip((centred * y).sum() / power, *SLOPES)) if power > 0 else 1.0
        fitted = cls(slope, float(y.mean() - slope * x.mean()), float(y.min()), float(y.max()), len(y))
        if ((fitted.apply(x) - y) ** 2).mean() > ((x - y) ** 2).mean():
            return cls.identity(len(y), "no affine map: it has a higher validation error")
        return fitted

    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        moved = self.slope * np.asarray(outputs, dtype=np.float64) + self.intercept
        if self.floor is None and self.ceiling is None:
            return moved
        return np.clip(moved, self.floor, self.ceiling)


@dataclass(frozen=True)
class OutputsCalibrator(Calibrator):
    """A `RegressionCalibrator` for each output of [n, O]; without any, the identity."""

    kind: ClassVar[str] = "outputs"
    outputs: tuple[RegressionCalibrator, ...] = ()
    rows: int = 0
    note: str = ""

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> OutputsCalibrator:
        fitted = tuple(RegressionCalibrator.fit(x[:, i], y[:, i]) for i in range(x.shape[1]))
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
