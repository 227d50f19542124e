"""From a signal in its own unit to u: the share of validation rows that are less uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import Floats

_STEPS = 100


@dataclass(frozen=True)
class Scale:
    """Piecewise linear, increasing: `knots` (strictly ascending, the signal's unit) → `shares` in [0, 1]."""

    knots: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def fit(cls, signal: Floats) -> Self:
        """From the signal [n] of validation rows. A value that many rows share gets the middle of their ranks."""
        grid = np.linspace(0, 1, _STEPS + 1)
        knots, which = np.unique(np.quantile(signal, grid), return_inverse=True)
        shares = np.bincount(which.reshape(-1), weights=grid) / np.bincount(which.reshape(-1))
        return cls(tuple(knots.tolist()), tuple(shares.tolist()))

    def apply(self, signal: Floats) -> NDArray[np.float64]:
        """[n] → [n] in [0, 1]."""
        return np.asarray(np.interp(signal, self.knots, self.shares), dtype=np.float64)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From its fields as JSON holds them."""
        return cls(tuple(data["knots"]), tuple(data["shares"]))
