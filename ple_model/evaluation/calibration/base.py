"""The base of all calibrators, and the search that fits those of probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ple_model.evaluation.kind import Floats

MIN_ROWS = 100  # fewer eligible validation rows: identity
SLOPES = (0.01, 100.0)  # bounds of every slope: positive, so that order is kept, and finite


class Calibrator(ABC):
    """A fitted map from raw outputs to predictions. Subclasses are frozen dataclasses with `rows` (validation rows that
    were used) and `note` (why the map is the identity, or empty); `kind` names the class in files."""

    kind: ClassVar[str]
    rows: int
    note: str

    @classmethod
    def identity(cls, rows: int = 0, note: str = "") -> Self:
        """The calibrator that only applies the output function of its kind."""
        return cls(rows=rows, note=note)  # type: ignore[call-arg]  # every subclass is a dataclass with both fields

    @classmethod
    @abstractmethod
    def fit(cls, x: Floats, y: NDArray) -> Calibrator:
        """From raw outputs and labels of at least `MIN_ROWS` validation rows."""

    @abstractmethod
    def apply(self, outputs: NDArray) -> NDArray[np.float64]:
        """Raw outputs → predictions, row by row."""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """From the fields of `to_dict`. Raises TypeError for an unknown or missing one."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def minimise(loss: Callable[[NDArray], tuple[float, NDArray]], size: int) -> NDArray[np.float64]:
    """Parameters of the least loss, searched from the identity; the first one is a slope, bounded to `SLOPES`.

    Args:
        loss: parameters [size] → value and gradient.
        size: number of parameters.
    """
    start = np.zeros(size)
    start[0] = 1.0
    bounds = [SLOPES] + [(None, None)] * (size - 1)
    options = {"ftol": 1e-12, "gtol": 1e-8, "maxiter": 500}
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
