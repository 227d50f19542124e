"""Percentile intervals by resampling customers, and paired differences between models on the same rows.

A customer has rows at several as-of dates, which are far from independent: a resample draws whole customers with
replacement, as multinomial counts. Every metric here is a function of weighted sums, so a resample never copies rows:

- metrics made of sums (losses, Brier, accuracy, F1, R², RMSE, recall, MRR) are summed by customer once, and 200
  resamples are one matrix product [resamples, customers] @ [customers, sums];
- the AUC and the average precision sort the rows once, and a resample is a weighted count along that order.

All models of one call are weighted by the same draws, which makes their differences paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.classes import tied_ends
from ple_model.evaluation.kind import EvaluatedKind, Floats, Ints, Statistic
from ple_model.evaluation.metrics import take_rows
from ple_model.evaluation.values import columns

RESAMPLES = 200
LEVEL = 0.95
# Resamples on which the metric is undefined (one class drawn) are left out; with more than this share the interval
# would describe a different question, so none is given.
MAX_UNDEFINED = 0.05
_CHUNK = 64  # resamples held at once by metrics of an order: 64 × 12,000 rows × 8 bytes = 6 MB


@dataclass(frozen=True)
class Interval:
    """A point estimate and its percentile interval; `reason` is set where they are None."""

    estimate: float | None
    low: float | None
    high: float | None
    reason: str = ""

    @property
    def beyond_zero(self) -> bool:
        """Whether the interval excludes 0 (of use for differences)."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def width(self) -> float | None:
        """high − low."""
        return None if self.low is None or self.high is None else self.high - self.low

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Resampled:
    """Intervals of several models on the same rows.

    `metrics[model][metric]`; `differences[other][metric]` = subject − other, resample by resample.
    """

    rows: int
    customers: int
    metrics: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]


def resample(
    kind: EvaluatedKind,
    predictions: Mapping[str, NDArray],
    labels: NDArray,
    mask: NDArray | None,
    customers: NDArray | Sequence[Any],
    *,
    subject: str,
    metrics: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Resampled:
    """Intervals of every model in `predictions` and paired differences of `subject` to each other one.

    Args:
        kind: of the task.
        predictions: model → its predictions, as for `metrics.evaluate`.
        labels: as for `metrics.evaluate`.
        mask: as for `metrics.evaluate`.
        customers: [n] ids, any sortable type.
        subject: the model that is compared with the others.
        metrics: names among `kind.resampled`; the headline by default.
        resamples: how many.
        level: coverage of the intervals.
        seed: the same seed and customers give the same draws.

    Raises:
        ValueError: an unknown subject or metric, or as `metrics.evaluate` does.
    """
    names = tuple(metrics) if metrics is not None else (kind.headline.metric,)
    if unknown := set(names) - set(kind.resampled):
        raise ValueError(f"{kind.name}: {sorted(unknown)} cannot be resampled; known: {kind.resampled}")
    if subject not in predictions:
        raise ValueError(f"subject {subject!r} is not among the models {list(predictions)}")
    ids = np.asarray(customers)
    if mask is not None:
        ids = ids[np.asarray(mask, dtype=bool)]
    cluster = np.unique(ids, return_inverse=True)[1].reshape(-1)
    n_clusters = int(cluster.max()) + 1 if len(cluster) else 0
    counts = draw_counts(n_clusters, resamples, seed)
    draws: dict[str, dict[str, Floats]] = {}
    for model, predicted in predictions.items():
        x, y = take_rows(kind, predicted, labels, mask)
        if len(y) != len(cluster):
            raise ValueError(f"{kind.name}: {len(cluster)} customer ids for {len(y)} eligible rows")
        draws[model] = {name: draw_metric(kind, name, x, y, cluster, counts) for name in names}
    return Resampled(
        rows=len(cluster),
        customers=n_clusters,
        metrics={m: {k: interval_of(v, level, n_clusters) for k, v in d.items()} for m, d in draws.items()},
        differences={
            m: {k: interval_of(draws[subject][k] - v, level, n_clusters) for k, v in d.items()}
            for m, d in draws.items()
            if m != subject
        },
    )


def draw_counts(customers: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """[resamples, customers] how often each customer is drawn: multinomial, rows sum to `customers`."""
    if customers == 0:
        return np.zeros((resamples, 0))
    rng = np.random.default_rng(seed)
    return rng.multinomial(customers, np.full(customers, 1 / customers), size=resamples).astype(np.float64)


def draw_metric(kind: EvaluatedKind, name: str, x: Floats, y: NDArray, cluster: Ints, counts: Floats) -> Floats:
    """[1 + R] a metric of `kind.resampled`: with every customer once (the point estimate), then for each row of counts
    [R, customers]. `x`, `y`: as `metrics.take_rows` gives them; `cluster` [n]: customer of each row."""
    clusters = counts.shape[1]
    if not clusters or not np.isfinite(x).all():
        return np.full(1 + len(counts), np.nan)
    statistic = kind.statistic(name, x, y, cluster, clusters)
    return np.concatenate([statistic(np.ones((1, clusters))), statistic(counts)])


def interval_of(draws: Floats, level: float, customers: int) -> Interval:
    """The percentile interval of what `draw_metric` gave, or a difference of two of them."""
    estimate, resampled = float(draws[0]), draws[1:]
    if customers == 0 or not np.isfinite(estimate):
        return Interval(None, None, None, "no eligible rows" if customers == 0 else "the metric is undefined here")
    if customers < 2:
        return Interval(estimate, None, None, "one customer only: nothing to resample")
    defined = resampled[np.isfinite(resampled)]
    if len(defined) < (1 - MAX_UNDEFINED) * len(resampled):
        lost = len(resampled) - len(defined)
        return Interval(estimate, None, None, f"undefined on {lost} of {len(resampled)} resamples")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


# Statistics: a metric as a function of how often each customer is drawn. Kinds of task put them together.


def mean_statistic(values: Floats, cluster: Ints, clusters: int, root: bool = False) -> Statistic:
    """The mean of row values [n], or its root."""
    sums = _by_customer(np.stack([np.ones(len(values)), values]), cluster, clusters)

    def mean(counts: Floats) -> Floats:
        weight, total = (counts @ sums).T
        return np.sqrt(total / weight) if root else total / weight

    return mean


def r2_statistic(x: Floats, y: Floats, cluster: Ints, clusters: int) -> Statistic:
    """R² of predictions [n] or [n, O], over all outputs together."""
    # Centred first: Σw·y² − (Σw·y)²/Σw loses its digits where the mean is large against the spread.
    centred = columns(y - y.mean(axis=0))
    squares, errors = (centred**2).sum(axis=0), (columns(x - y) ** 2).sum(axis=0)
    sums = _by_customer(np.stack([np.ones(len(y)), *centred, squares, errors]), cluster, clusters)
    spread_at_all = float(squares.sum()) > 0

    def r2(counts: Floats) -> Floats:
        weight, *first, second, error = (counts @ sums).T
        spread = second - sum(total**2 for total in first) / weight
        return np.where(spread_at_all & (spread > 0), 1 - error / np.where(spread > 0, spread, 1), np.nan)

    return r2


def f1_statistic(predicted: Ints, y: Ints, classes: int, cluster: Ints, clusters: int) -> Statistic:
    """Mean F1 over the classes that occur among labels or predictions."""
    one_hot = np.eye(classes)
    right = one_hot[y] * (predicted == y)[:, None]
    both = _by_customer(np.concatenate([right, one_hot[y] + one_hot[predicted]], axis=1).T, cluster, clusters)

    def f1(counts: Floats) -> Floats:
        sums = counts @ both
        hits, total = sums[:, :classes], sums[:, classes:]
        return (2 * hits / np.maximum(total, 1)).sum(axis=1) / (total > 0).sum(axis=1)

    return f1


def auc_statistic(score: Floats, y: NDArray, cluster: Ints) -> Statistic:
    """Area under the ROC curve."""
    order = np.argsort(score, kind="stable")
    owner, positive = cluster[order], (y == 1)[order].astype(np.float64)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(score[order]) > 0]))  # first row of each tied group

    def auc(counts: Floats) -> Floats:
        out = np.empty(len(counts))
        for first in range(0, len(counts), _CHUNK):
            weight = counts[first : first + _CHUNK, owner]
            pos = np.add.reduceat(weight * positive, starts, axis=1)
            neg = np.add.reduceat(weight * (1 - positive), starts, axis=1)
            below = np.cumsum(neg, axis=1) - neg / 2
            pairs = pos.sum(axis=1) * neg.sum(axis=1)
            won = (pos * below).sum(axis=1)
            out[first : first + _CHUNK] = np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1), np.nan)
        return out

    return auc


def average_precision_statistic(score: Floats, y: NDArray, cluster: Ints) -> Statistic:
    """Area under the precision-recall curve, a step after each group of tied rows."""
    ends, order = tied_ends(score)
    owner, positive = cluster[order], (y == 1)[order].astype(np.float64)
    starts = np.append(0, ends[:-1] + 1)

    def average_precision(counts: Floats) -> Floats:
        out = np.empty(len(counts))
        for first in range(0, len(counts), _CHUNK):
            weight = counts[first : first + _CHUNK, owner]
            gained = np.add.reduceat(weight * positive, starts, axis=1)
            hits = np.cumsum(gained, axis=1)
            rows = np.cumsum(np.add.reduceat(weight, starts, axis=1), axis=1)
            area = (gained * hits / np.maximum(rows, 1)).sum(axis=1)
            out[first : first + _CHUNK] = np.where(hits[:, -1] > 0, area / np.maximum(hits[:, -1], 1), np.nan)
        return out

    return average_precision


def _by_customer(values: Floats, cluster: Ints, clusters: int) -> NDArray[np.float64]:
    """[q, n] values of rows → [customers, q] sums."""
    return np.stack([np.bincount(cluster, weights=v, minlength=clusters) for v in values], axis=1)
