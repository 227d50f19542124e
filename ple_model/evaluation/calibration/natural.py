"""From a calibrated prediction on a label's scale to the expected value in its natural unit.

The mean of a logarithm is not the logarithm of the mean: the inverse of the scale at a prediction is too low (Jensen),
by an amount that depends on how far values scatter around it. So the expectation itself is fitted on validation rows:
an increasing, piecewise linear map from the prediction to the mean of the natural values, whose sum over these rows is
what was observed. Beyond the rows that it was fitted on it goes on as the inverse of the scale does.

Source: Duan, "Smearing estimate: a nonparametric retransformation method" (JASA 1983), for the bias; isotonic
regression (Barlow et al. 1972) for the map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import Floats

POOLS = 50  # groups of rows with neighbouring predictions, whose means the map is fitted to
MIN_POOL_ROWS = 30  # fewer rows a group: fewer groups
TAIL_KNOTS = 16  # on each side, where the map follows the inverse of the scale
SCALE_KNOTS = 513  # of the inverse of the scale itself; between two of them a logarithm is straight within 1e-4

Inverse = Callable[[NDArray], NDArray]
"""Label values [n] → the same in the natural unit, increasing."""


@dataclass(frozen=True)
class NaturalMap:
    """Piecewise linear through (`at`, `value`), both ascending, and constant outside.

    `at` is in the label's unit, `value` in the natural one. `rows`: validation rows that were used; `note`: why there
    were none, or empty. `scale_at`, `scale_value`: the inverse of the label's scale itself; empty in a version that was
    registered before it was kept.
    """

    at: tuple[float, ...]
    value: tuple[float, ...]
    rows: int = 0
    note: str = ""
    scale_at: tuple[float, ...] = ()
    scale_value: tuple[float, ...] = ()

    def apply(self, predictions: NDArray) -> NDArray[np.float64]:
        """Calibrated predictions [n] → expected natural values [n], row by row."""
        return np.interp(np.asarray(predictions, dtype=np.float64), self.at, self.value)

    def ends(self, region: NDArray) -> NDArray[np.float64] | None:
        """Ends of intervals [n, 2] in the label's unit → the same in the natural unit; None without the scale.

        An interval holds a value exactly where its image holds the value's: unlike a mean, an end of an interval goes
        through the inverse of the scale as it is.
        """
        if not self.scale_at:
            return None
        return np.interp(np.asarray(region, dtype=np.float64), self.scale_at, self.scale_value)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NaturalMap:
        """The map that `to_dict` described. Raises TypeError for an unknown or missing field."""
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in data.items()}
        return cls(**fields)


def fit_natural(predictions: NDArray, labels: NDArray, inverse: Inverse, fallback: NDArray) -> NaturalMap:
    """Fit on validation rows.

    Rows are pooled by neighbouring predictions: the mean of a pool is far less noisy than single values, whose tail is
    heavy, and the largest predictions keep their order.

    Args:
        predictions: calibrated, [n], of rows that have a label.
        labels: [n], in the label's unit.
        inverse: of the label's scale.
        fallback: [m] labels of training rows, m ≥ 1; without validation rows the map is the inverse over their range.

    Raises:
        ValueError: predictions of several outputs, or values that are not finite.
    """
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    note = ""
    if not len(y):
        x = y = np.asarray(fallback, dtype=np.float64)
        note = "the inverse of the scale: no validation row has a label"
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"natural values of predictions {x.shape} and labels {y.shape}: one number a row was expected")
    natural = np.asarray(inverse(y), dtype=np.float64)
    if not (np.isfinite(x).all() and np.isfinite(natural).all()):
        raise ValueError("predictions or natural values of validation rows are not finite")
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    at, value = _with_tails(*_means(x, natural), low, high, inverse)
    knots = np.linspace(low, high + (high - low) / 4, SCALE_KNOTS)  # an interval may reach beyond the rows
    ends = np.maximum(np.asarray(inverse(knots), dtype=np.float64), 0.0)
    total = np.interp(x, at, value).sum()
    scale = natural.sum() / total if total > 0 else 1.0
    rows = 0 if note else len(y)
    return NaturalMap(_plain(at), _plain(scale * value), rows, note, _plain(knots), _plain(ends))


def _plain(numbers: NDArray) -> tuple[float, ...]:
    return tuple(numbers.tolist())


def _means(x: Floats, natural: Floats) -> tuple[Floats, Floats]:
    """Ascending knots: mean prediction of each pool, and its mean natural value made increasing."""
    from sklearn.isotonic import IsotonicRegression

    pools = np.array_split(np.argsort(x, kind="stable"), max(1, min(POOLS, len(x) // MIN_POOL_ROWS)))
    centre, mean = (np.array([values[pool].mean() for pool in pools]) for values in (x, natural))
    fitted = IsotonicRegression().fit(centre, mean, sample_weight=np.array([len(pool) for pool in pools]))
    return fitted.X_thresholds_.astype(np.float64), fitted.y_thresholds_.astype(np.float64)


def _with_tails(at: Floats, value: Floats, low: float, high: float, inverse: Inverse) -> tuple[Floats, Floats]:
    """The knots, and beyond the first and the last one others in proportion to the inverse of the scale."""
    below = np.linspace(low, at[0], TAIL_KNOTS, endpoint=False) if low < at[0] else at[:0]
    above = np.linspace(at[-1], high, TAIL_KNOTS + 1)[1:] if high > at[-1] else at[:0]

    def scaled(knots: Floats, end: int) -> Floats:
        own = np.maximum(inverse(knots), 0.0)
        there = float(np.maximum(inverse(at[[end]]), 0.0)[0])
        proportional = there > 0 and value[end] > 0
        return value[end] * own / there if proportional else np.full(len(knots), value[end])

    return np.concatenate([below, at, above]), np.concatenate([scaled(below, 0), value, scaled(above, -1)])
