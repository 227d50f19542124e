"""Point metrics of a task from predictions in their final form (table in `kind.py`).

A metric that is not defined on the rows at hand (one class only, no rows, no spread) is `None` and has a reason; no
metric is ever NaN or infinite. The metrics themselves stand in `classes`, `values`, `ranking`, `uplift`, `reliability`
and `intervals`; a kind of task chooses among them.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.intervals import INTERVAL_METRICS, PredictedIntervals, measure_intervals
from ple_model.evaluation.kind import EPSILON, EvaluatedKind, Floats, Ints


@dataclass(frozen=True)
class TaskMetrics:
    """Metrics of one task on its eligible rows. A value of `None` has its reason in `reasons` under the same name."""

    kind: str
    rows: int
    values: dict[str, float | None]
    reasons: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def evaluate(
    kind: EvaluatedKind,
    predictions: NDArray,
    labels: NDArray,
    mask: NDArray | None = None,
    intervals: PredictedIntervals | None = None,
) -> TaskMetrics:
    """All metrics of a kind of task on the rows where `mask` [n] is True (all rows without one).

    Args:
        kind: of the task.
        predictions: final predictions, shapes as in `kind.py`.
        labels: those of masked rows are never read.
        mask: [n] bool, True = labelled.
        intervals: of all rows, for a kind that measures them: adds the metrics of `evaluation.intervals`.

    Raises:
        ValueError: shapes that do not belong together, or an unmasked label that is none (NaN, a class out of range).
    """
    predictions, labels = take_rows(kind, predictions, labels, mask)
    rows, names = len(labels), kind.metric_names(_width(predictions))
    measured_intervals = intervals is not None and kind.has_intervals
    if measured_intervals:
        names += INTERVAL_METRICS
    if rows == 0:
        return _undefined(kind, names, 0, "no eligible rows")
    if bad := int((~np.isfinite(predictions)).reshape(rows, -1).any(axis=1).sum()):
        return _undefined(kind, names, rows, f"predictions of {bad} of {rows} rows are not finite")
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    found = kind.measure(predictions, labels)
    if intervals is not None and measured_intervals:
        kept = intervals if mask is None else intervals.at(np.asarray(mask, dtype=bool))
        found |= measure_intervals(labels, kept)
    for name, value in found.items():
        values[name] = None if isinstance(value, str) else float(value)
        if isinstance(value, str):
            reasons[name] = value
    return TaskMetrics(kind.name, rows, values, reasons)


def take_rows(
    kind: EvaluatedKind, predictions: NDArray, labels: NDArray, mask: NDArray | None
) -> tuple[Floats, NDArray]:
    """Unmasked rows as (float64 predictions, labels); labels are checked. Raises as `evaluate` does."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if len(predictions) != len(labels) or not kind.fits(predictions, labels):
        raise ValueError(
            f"{kind.name}: predictions {predictions.shape} and labels {labels.shape} do not belong together"
        )
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != (len(labels),):
            raise ValueError(f"{kind.name}: mask {mask.shape} for {len(labels)} rows")
        predictions, labels = predictions[mask], labels[mask]
    bad = kind.bad_labels(labels, _width(predictions))
    if bad.any():
        raise ValueError(f"{kind.name}: {bad.sum()} unmasked labels are none, the first {labels[bad][:3].tolist()}")
    return predictions.astype(np.float64), labels.astype(kind.label_dtype)


def _width(predictions: NDArray) -> int:
    return predictions.shape[-1] if predictions.ndim == 2 else 1


def _undefined(kind: EvaluatedKind, names: tuple[str, ...], rows: int, reason: str) -> TaskMetrics:
    return TaskMetrics(kind.name, rows, dict.fromkeys(names), dict.fromkeys(names, reason))


# Row-wise losses: shared with the bootstrap, whose resampled means are weighted means of them.


def binary_loss(probability: Floats, label: NDArray) -> Floats:
    """[n] negative log likelihood."""
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    return -np.where(label == 1, np.log(p), np.log1p(-p))


def multiclass_brier(probabilities: Floats, label: Ints) -> Floats:
    """[n] squared distance of [n, K] to the label's unit vector, 0 to 2 (Brier, 1950)."""
    own = probabilities[np.arange(len(label)), label]
    return (probabilities**2).sum(axis=1) - 2 * own + 1


def multiclass_loss(probabilities: Floats, label: Ints) -> Floats:
    """[n] negative log likelihood from [n, K]."""
    return -np.log(np.clip(probabilities[np.arange(len(label)), label], EPSILON, 1.0))
