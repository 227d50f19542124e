"""Point metrics of a task kind, from predictions in their final form.

Final form of predictions, by kind (n rows, K classes, M brands):

| kind        | predictions                       | labels                                       |
|-------------|-----------------------------------|----------------------------------------------|
| binary      | [n] probability of 1              | [n] 0 or 1                                   |
| multiclass  | [n, K] probabilities              | [n] class index                              |
| regression  | [n] in the label's unit           | [n] in the label's unit                      |
| contrastive | [n, M] scores, higher is better   | [n, P] brand indices, padded with −1         |

A metric that is not defined on the rows at hand (one class only, no rows, no spread) is `None` and has a reason; no
metric is ever NaN or infinite.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Kind = Literal["binary", "multiclass", "regression", "contrastive"]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

# A probability of exactly 0 that proves wrong would cost infinitely much; it costs −log(EPSILON) = 16.1 instead.
EPSILON = 1e-7
ECE_BINS = 15
RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class Headline:
    """The one metric by which a task kind is judged. `better` is +1 where higher is better, else −1."""

    metric: str
    title: str
    better: Literal[1, -1]


HEADLINE = MappingProxyType[Kind, Headline](
    {
        "binary": Headline("auc", "AUC", 1),
        "multiclass": Headline("log_loss", "log loss", -1),
        "regression": Headline("r2", "R²", 1),
        "contrastive": Headline("recall_at_10", "recall@10", 1),
    }
)


@dataclass(frozen=True)
class TaskMetrics:
    """Metrics of one task on its eligible rows. A value of `None` has its reason in `reasons` under the same name."""

    kind: Kind
    rows: int
    values: dict[str, float | None]
    reasons: dict[str, str]

    @property
    def headline(self) -> float | None:
        return self.values[HEADLINE[self.kind].metric]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(kind: Kind, predictions: NDArray, labels: NDArray, mask: NDArray | None = None) -> TaskMetrics:
    """All metrics of a task kind on the rows where `mask` [n] is True (all rows without one).

    Shapes: see the table at the top of this file. Labels of masked rows are not looked at.

    Raises
        ValueError: shapes that do not belong together, or an unmasked label that is none (NaN, a class out of range).
    """
    predictions, labels = take_rows(kind, predictions, labels, mask)
    rows = len(labels)
    if rows == 0:
        return _undefined(kind, 0, "no eligible rows")
    if bad := int((~np.isfinite(predictions)).reshape(rows, -1).any(axis=1).sum()):
        return _undefined(kind, rows, f"predictions of {bad} of {rows} rows are not finite")
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, value in _METRICS[kind](predictions, labels).items():
        values[name] = None if isinstance(value, str) else float(value)
        if isinstance(value, str):
            reasons[name] = value
    return TaskMetrics(kind, rows, values, reasons)


def metric_names(kind: Kind) -> tuple[str, ...]:
    """Names of the metrics of a kind, in the order in which they are reported."""
    return _NAMES[kind]


def take_rows(kind: Kind, predictions: NDArray, labels: NDArray, mask: NDArray | None) -> tuple[Floats, NDArray]:
    """Unmasked rows as (float64 predictions, labels); labels are checked. Raises as `evaluate` does."""
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    wide = kind in ("multiclass", "contrastive")
    if predictions.ndim != 1 + wide or labels.ndim != 1 + (kind == "contrastive") or len(predictions) != len(labels):
        raise ValueError(f"{kind}: predictions {predictions.shape} and labels {labels.shape} do not belong together")
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != (len(labels),):
            raise ValueError(f"{kind}: mask {mask.shape} for {len(labels)} rows")
        predictions, labels = predictions[mask], labels[mask]
    bad = _bad_labels(kind, labels, predictions.shape[-1] if wide else 0)
    if bad.any():
        raise ValueError(f"{kind}: {bad.sum()} unmasked labels are none, the first {labels[bad][:3].tolist()}")
    return predictions.astype(np.float64), labels.astype(np.float64 if kind == "regression" else np.int64)


def _bad_labels(kind: Kind, labels: NDArray, width: int) -> Bools:
    if kind == "binary":
        return (labels != 0) & (labels != 1)
    if kind == "regression":
        return ~np.isfinite(labels)
    if kind == "multiclass":
        return ~((labels >= 0) & (labels < width))
    outside = (labels < -1) | (labels >= width)
    return np.asarray(outside.any(axis=1) | (labels < 0).all(axis=1))


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
    """Area under the ROC curve by mid-ranks (ties count one half); a text where there is one class only."""
    positive = label == 1
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return "only one class among the labels"
    return float((rankdata(score)[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def expected_calibration_error(confidence: Floats, hit: NDArray, bins: int = ECE_BINS) -> float:
    """Σ_bins share · |mean confidence − hit rate|, bins of equal mass; equal confidences share a bin."""
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(edges, confidence, side="left")
    return float(np.abs(np.bincount(index, weights=confidence - hit)).sum() / len(confidence))


def macro_f1(predicted: Ints, label: Ints, classes: int) -> float:
    """Mean F1 over the classes that occur among labels or predictions."""
    true = np.bincount(label, minlength=classes)
    said = np.bincount(predicted, minlength=classes)
    right = np.bincount(label[predicted == label], minlength=classes)
    seen = true + said > 0
    return float((2 * right[seen] / (true + said)[seen]).mean())


def _binary(p: Floats, y: NDArray) -> dict[str, float | str]:
    return {
        "auc": auc(p, y),
        "log_loss": binary_loss(p, y).mean(),
        "brier": ((p - y) ** 2).mean(),
        "ece": expected_calibration_error(p, y),
        "base_rate": y.mean(),
    }


def _multiclass(p: Floats, y: NDArray) -> dict[str, float | str]:
    said = p.argmax(axis=1)
    areas = [auc(p[:, k], (y == k).astype(np.int64)) for k in np.unique(y)]
    return {
        "log_loss": multiclass_loss(p, y).mean(),
        "accuracy": (said == y).mean(),
        "macro_f1": macro_f1(said, y, p.shape[1]),
        "ece": expected_calibration_error(p.max(axis=1), said == y),
        "macro_auc": float(np.mean(np.asarray(areas, dtype=np.float64)))
        if len(areas) > 1
        else "only one class among the labels",
    }


def _regression(x: Floats, y: NDArray) -> dict[str, float | str]:
    error, spread = x - y, ((y - y.mean()) ** 2).sum()
    flat = "labels do not vary" if np.ptp(y) == 0 else ("predictions do not vary" if np.ptp(x) == 0 else "")
    return {
        "r2": 1 - (error**2).sum() / spread if spread > 0 else "labels do not vary",
        "rmse": np.sqrt((error**2).mean()),
        "mae": np.abs(error).mean(),
        "spearman": flat or np.corrcoef(rankdata(x), rankdata(y))[0, 1],
    }


def _contrastive(scores: Floats, positives: NDArray) -> dict[str, float | str]:
    return {name: part.mean() for name, part in ranking_parts(scores, positives).items()}


_METRICS: dict[Kind, Callable[[Floats, NDArray], dict[str, float | str]]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
    "contrastive": _contrastive,
}
_NAMES: dict[Kind, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "brier", "ece", "base_rate"),
    "multiclass": ("log_loss", "accuracy", "macro_f1", "ece", "macro_auc"),
    "regression": ("r2", "rmse", "mae", "spearman"),
    "contrastive": (*(f"recall_at_{k}" for k in RECALL_AT), "mrr"),
}


def _undefined(kind: Kind, rows: int, reason: str) -> TaskMetrics:
    names = metric_names(kind)
    return TaskMetrics(kind, rows, dict.fromkeys(names), dict.fromkeys(names, reason))
