"""Point metrics of a task from predictions in their final form (table in `kind.py`).

A metric that is not defined on the rows at hand (one class only, no rows, no spread) is `None` and has a reason; no
metric is ever NaN or infinite. scikit-learn is imported where it is called: the import takes a second, and settings
that name a kind of task should not wait for it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import EPSILON, EvaluatedKind, Floats, Ints

ECE_BINS = 15
RECALL_AT = (1, 5, 10)
ONE_CLASS = "only one class among the labels"


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


def evaluate(kind: EvaluatedKind, predictions: NDArray, labels: NDArray, mask: NDArray | None = None) -> TaskMetrics:
    """All metrics of a kind of task on the rows where `mask` [n] is True (all rows without one).

    Args:
        kind: of the task.
        predictions: final predictions, shapes as in `kind.py`.
        labels: those of masked rows are never read.
        mask: [n] bool, True = labelled.

    Raises:
        ValueError: shapes that do not belong together, or an unmasked label that is none (NaN, a class out of range).
    """
    predictions, labels = take_rows(kind, predictions, labels, mask)
    rows, names = len(labels), kind.metric_names(_width(predictions))
    if rows == 0:
        return _undefined(kind, names, 0, "no eligible rows")
    if bad := int((~np.isfinite(predictions)).reshape(rows, -1).any(axis=1).sum()):
        return _undefined(kind, names, rows, f"predictions of {bad} of {rows} rows are not finite")
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, value in kind.measure(predictions, labels).items():
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


def multiclass_loss(probabilities: Floats, label: Ints) -> Floats:
    """[n] negative log likelihood from [n, K]."""
    return -np.log(np.clip(probabilities[np.arange(len(label)), label], EPSILON, 1.0))


def positive_ranks(scores: Floats, positives: Ints) -> NDArray[np.float64]:
    """[n, P] rank of each positive among all M scores of its row, 1 = best, inf where padded.

    Ties count against the positive (rank = number of scores at least as high), so a scorer that cannot tell brands
    apart earns nothing from the order in which they are listed.
    """
    ranks = np.full(positives.shape, np.inf)
    for column in range(positives.shape[1]):
        rows = np.flatnonzero(positives[:, column] >= 0)
        own = scores[rows, positives[rows, column]]
        ranks[rows, column] = (scores[rows] >= own[:, None]).sum(axis=1)
    return ranks


def ranking_parts(scores: Floats, positives: Ints) -> dict[str, Floats]:
    """[n] contributions of each row to recall@k and MRR.

    recall@k = positives among the first k / min(k, positives), so that 1 can be reached whatever the basket's size
    (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, §4.2). MRR takes the best-ranked
    positive of the whole table.
    """
    ranks = positive_ranks(scores, positives)
    count = (positives >= 0).sum(axis=1)
    parts: dict[str, Floats] = {f"recall_at_{k}": (ranks <= k).sum(axis=1) / np.minimum(k, count) for k in RECALL_AT}
    parts["mrr"] = 1.0 / ranks.min(axis=1)
    return parts


def auc(score: Floats, label: NDArray) -> float | str:
    """Area under the ROC curve (ties count one half); a text where only one class occurs."""
    from sklearn.metrics import roc_auc_score

    positive = label == 1
    if positive.all() or not positive.any():
        return ONE_CLASS
    return float(roc_auc_score(positive, score))


def expected_calibration_error(confidence: Floats, hit: NDArray, bins: int = ECE_BINS) -> float:
    """Σ_bins share · |mean confidence − hit rate|, bins of equal mass; equal confidences share a bin."""
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(edges, confidence, side="left")
    return float(np.abs(np.bincount(index, weights=confidence - hit)).sum() / len(confidence))


def macro_f1(predicted: Ints, label: Ints) -> float:
    """Mean F1 over the classes that occur among labels or predictions."""
    from sklearn.metrics import f1_score

    return float(f1_score(label, predicted, average="macro", zero_division=0.0))


def r2(x: Floats, y: Floats) -> float | str:
    """1 − Σ error² / Σ (y − mean)², each over all outputs; a text where the labels do not vary."""
    from sklearn.metrics import r2_score

    if not ((y - y.mean(axis=0)) ** 2).sum() > 0:
        return "labels do not vary"
    return float(r2_score(y, x, multioutput="variance_weighted"))


def spearman(x: Floats, y: Floats) -> float | str:
    """Rank correlation, the mean over outputs; a text where one side does not vary."""
    from scipy.stats import spearmanr

    pairs = list(zip(columns(x), columns(y), strict=True))
    if any(np.ptp(y) == 0 for _, y in pairs):
        return "labels do not vary"
    if any(np.ptp(x) == 0 for x, _ in pairs):
        return "predictions do not vary"
    return float(np.mean([spearmanr(x, y).statistic for x, y in pairs]))


def columns(values: NDArray) -> NDArray:
    """[n] or [n, O] → [O, n]: one row an output."""
    return np.atleast_2d(values.T)
