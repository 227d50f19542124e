"""One model beside others over several training dates (origins), predictions averaged over seeds.

A customer has rows at several dates of several origins. A resample draws customers once and takes all their rows at all
origins, so what is common to a customer stays together. The metric is taken at each origin and then averaged, each
origin counting alike: one AUC over all rows would also reward the order of rows of different dates, which no night asks
for, and one R² the differences between the origins' means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import LEVEL, Interval, draw_counts, draw_metric, interval_of
from ple_model.evaluation.kind import EvaluatedKind, Floats, Headline
from ple_model.evaluation.metrics import take_rows
from ple_model.evaluation.reliability import Calibration, judge_calibration
from ple_model.evaluation.verdict import Verdict, verdict

RESAMPLES = 1_000


@dataclass(frozen=True)
class OriginRows:
    """The judged rows of one origin: labels and mask as for `metrics.evaluate`, customers [n], and model → predictions
    [n, …], averaged over seeds (`seed_mean`)."""

    origin: str
    customers: NDArray
    labels: NDArray
    mask: NDArray
    predictions: Mapping[str, NDArray]


@dataclass(frozen=True)
class Difference:
    """Subject less other, its interval, the margin in the metric's unit, and the subject's verdict."""

    interval: Interval
    margin: float
    verdict: Verdict

    @property
    def width(self) -> float | None:
        """Of the interval."""
        return self.interval.width


@dataclass(frozen=True)
class Pooled:
    """The headline metric over all origins.

    rows, customers: with a label, each row of each origin counted. values: model → interval of the mean over origins.
    by_origin: model → origin → value. differences: model → subject less that model. left_out: origin → why.
    """

    metric: str
    title: str
    better: int
    rows: int
    customers: int
    values: dict[str, Interval]
    by_origin: dict[str, dict[str, float]]
    differences: dict[str, Difference]
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def seed_mean(predictions: Sequence[NDArray]) -> NDArray[np.float64]:
    """The mean over seeds of predictions [n, …] of the same rows, in probabilities and values.

    Raises:
        ValueError: no predictions, or of other shapes.
    """
    shapes = {np.shape(p) for p in predictions}
    if len(shapes) != 1:
        raise ValueError(f"predictions of the seeds have the shapes {sorted(shapes)}")
    return np.mean([np.asarray(p, dtype=np.float64) for p in predictions], axis=0)


def pool(
    kind: EvaluatedKind,
    origins: Sequence[OriginRows],
    subject: str,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Pooled:
    """The subject beside every other model of the origins, by the kind's headline metric.

    An origin at which the metric is not defined for some model (no label, one class) is left out for all.

    Args:
        kind: of the task.
        origins: with the same models each.
        subject: the model that is compared with the others.
        resamples: how many.
        level: coverage of the intervals.
        seed: of the draws of customers.

    Raises:
        ValueError: no origin, other models at another origin, an unknown subject, or as `metrics.evaluate` does.
    """
    if not origins:
        raise ValueError("no origin to pool")
    models = list(origins[0].predictions)
    for rows in origins:
        if list(rows.predictions) != models or subject not in models:
            raise ValueError(f"origin {rows.origin} has the models {list(rows.predictions)}, expected {models}")
    labelled = [np.asarray(rows.customers)[np.asarray(rows.mask, dtype=bool)] for rows in origins]
    everyone, owner = np.unique(np.concatenate(labelled), return_inverse=True)
    owners = np.split(owner.reshape(-1), np.cumsum([len(ids) for ids in labelled])[:-1])
    counts = draw_counts(len(everyone), resamples, seed)
    kept: dict[str, dict[str, Floats]] = {}
    left_out: dict[str, str] = {}
    used = np.zeros(len(everyone), dtype=bool)
    pooled_rows = 0
    for rows, cluster in zip(origins, owners, strict=True):
        draws = _draws(kind, rows, cluster, counts)
        if isinstance(draws, str):
            left_out[rows.origin] = draws
            continue
        kept[rows.origin] = draws
        used[cluster] = True
        pooled_rows += len(cluster)
    mean = {
        m: np.mean([d[m] for d in kept.values()], axis=0) if kept else np.full(resamples + 1, np.nan) for m in models
    }
    values = {m: interval_of(draws, level, int(used.sum())) for m, draws in mean.items()}
    headline = kind.headline
    return Pooled(
        headline.metric,
        headline.title,
        headline.better,
        pooled_rows,
        int(used.sum()),
        values,
        {m: {origin: float(draws[m][0]) for origin, draws in kept.items()} for m in models},
        {
            m: difference_of(interval_of(mean[subject] - mean[m], level, int(used.sum())), headline, values[m].estimate)
            for m in models
            if m != subject
        },
        left_out,
    )


def difference_of(interval: Interval, headline: Headline, other: float | None) -> Difference:
    """A difference with its verdict, beside the other model's value."""
    margin = headline.margin_at(other) if other is not None else float("nan")
    return Difference(interval, margin, verdict(interval, headline, other))


def pooled_calibration(
    kind: EvaluatedKind, origins: Sequence[OriginRows], model: str, seed: int = 0
) -> Calibration | None:
    """Calibration of a model's probabilities over the rows of all origins, whole customers together; None for kinds
    without probabilities, or without a label."""
    parts = []
    for rows in origins:
        x, y = take_rows(kind, rows.predictions[model], rows.labels, rows.mask)
        curve = kind.curve(x, y) if len(y) else None
        if curve is not None:
            parts.append((*curve, np.asarray(rows.customers)[np.asarray(rows.mask, dtype=bool)]))
    if not parts:
        return None
    probability, hit, customers = (np.concatenate(part) for part in zip(*parts, strict=True))
    return judge_calibration(probability, hit, customers, seed)


def _draws(kind: EvaluatedKind, rows: OriginRows, cluster: NDArray, counts: Floats) -> dict[str, Floats] | str:
    """Model → [1 + R] metric of one origin, the first of all rows; a text where it is not defined."""
    if not len(cluster):
        return "no label"
    found = {}
    for model, predicted in rows.predictions.items():
        x, y = take_rows(kind, predicted, rows.labels, rows.mask)
        if len(y) != len(cluster):
            raise ValueError(f"{kind.name}, {rows.origin}: {len(cluster)} customer ids for {len(y)} labelled rows")
        found[model] = draw_metric(kind, kind.headline.metric, x, y, cluster, counts)
        if not np.isfinite(found[model][0]):
            return f"the metric of {model} is not defined on {len(y)} rows"
    return found
