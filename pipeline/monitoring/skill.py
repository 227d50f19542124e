"""How good the scores were where their labels have matured, and how good they should be where not.

The realised metrics are those of the evaluation (`ple_model.evaluation`), on published scores instead of test rows, so
they stand beside what the evaluation promised. The expected ones need no label: if a probability p means what it says,
a row is a 1 with probability p (the idea of NannyML's confidence-based performance estimation). They are an estimate,
and say nothing about probabilities that are off.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.scores.table import Scores, of_eligible
from pipeline.settings import PromotionSettings
from pipeline.training.challenge import margin_of
from pipeline.training.evaluation import MODEL, Evaluation

Described = Mapping[str, Any]
"""A task's entry in the bundle's tasks.json."""
BINARY, MULTICLASS = "binary", "multiclass"
CALIBRATION = "ece_debiased"
"""Metric of a binary task that stands beside its headline."""
NIGHTS_SHORT = 3
"""So many scored dates in a row fall short before it is said: one night's rows may be unlucky."""
LEAST_ROWS = 100
"""Labelled rows of a scored date below which chance alone makes such differences."""
SCHEMA: dict[str, Any] = {
    "task": pl.String,
    "metric": pl.String,
    "rows": pl.Int64,
    "realised": pl.Float64,
    "promised": pl.Float64,
}


def realised(
    scores: pl.DataFrame, labels: pl.DataFrame, tasks: Sequence[Described], promise: Evaluation
) -> pl.DataFrame:
    """A row a task and metric (`SCHEMA`): the headline metric, of binary tasks their calibration error too.

    Args:
        scores: published, of one as-of date.
        labels: of that date (`feature_assets.labels.compute_labels`); null has not matured or does not apply.
        tasks: the tasks.json of the version that scored. Brands and uplift are left out: their scores are not published
            in the form in which they are measured.
        promise: the evaluation of that version.
    """
    from ple_model.evaluation.metrics import evaluate
    from ple_model.tasks import kind_of

    rows = []
    for task in tasks:
        name, kind = task["name"], kind_of(task["kind"])
        if name not in labels.columns or name not in scores.columns or not kind.judged_by_scores:
            continue
        label, read = f"{name}__label", [c for c in (name, f"{name}__p") if c in scores.columns]
        matured = labels.select("customer_id", pl.col(name).alias(label)).drop_nulls(label)
        own = of_eligible(scores, name, "customer_id", *read)
        known = own.join(matured, on="customer_id", how="inner", maintain_order="left")
        predictions = _predictions(known, task) if known.height else None
        if predictions is None:
            continue
        measured = evaluate(kind, predictions, known[label].to_numpy())
        for metric in (kind.headline.metric, *([CALIBRATION] if kind.name == BINARY else [])):
            title = kind.metric_title(metric, task.get("classes") or ())
            rows.append((name, title, measured.rows, measured.values[metric], promised(promise, name, title)))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def promised(evaluation: Evaluation, task: str, metric: str) -> float | None:
    """What the evaluation found for the model, None where it has no such figure."""
    wanted = {"task": task, "model": MODEL, "metric": metric}
    return next((row["value"] for row in evaluation.metrics if wanted.items() <= row.items()), None)


def falls_short(found: pl.DataFrame, tasks: Sequence[Described], settings: PromotionSettings) -> pl.DataFrame:
    """The tasks whose headline metric on matured labels stayed below the promise by more than the margin of a promotion
    on each of the last `NIGHTS_SHORT` scored dates.

    Args:
        found: `SCHEMA` with `scored`, of any number of nights.
        tasks: the tasks.json of the champion.
        settings: with the margins.

    Returns:
        task, metric, since (the first of these dates), and the means over them: realised, promised; margin.
    """
    from ple_model.tasks import kind_of

    rows = []
    for task in tasks:
        headline = kind_of(task["kind"]).headline
        title = kind_of(task["kind"]).metric_title(headline.metric, task.get("classes") or ())
        own = found.filter(
            (pl.col("task") == task["name"]) & (pl.col("metric") == title) & (pl.col("rows") >= LEAST_ROWS)
        )
        last = own.drop_nulls(["realised", "promised"]).sort("scored").tail(NIGHTS_SHORT)
        if last.height < NIGHTS_SHORT:
            continue
        short = [
            headline.better * (realised - promised) < -margin_of(task["name"], headline, promised, settings)
            for realised, promised in last.select("realised", "promised").iter_rows()
        ]
        if all(short):
            means = last.select(pl.col("realised", "promised").mean()).row(0)
            rows.append(
                (task["name"], title, last["scored"][0], *means, margin_of(task["name"], headline, means[1], settings))
            )
    names: dict[str, Any] = {"task": pl.String, "metric": pl.String, "since": pl.Date}
    numbers = {"realised": pl.Float64, "promised": pl.Float64, "margin": pl.Float64}
    return pl.DataFrame(rows, schema=names | numbers, orient="row")


def expected(scores: Scores, tasks: Sequence[Described]) -> pl.DataFrame:
    """An estimate for tonight, without labels: task, customers, expected AUC and log loss of each binary task over its
    eligible customers."""
    rows = []
    names = scores.collect_schema().names()
    for task in tasks:
        if task["kind"] == BINARY and task["name"] in names:
            eligible = of_eligible(scores, task["name"], task["name"]).to_series()
            own = eligible.drop_nulls().cast(pl.Float64).to_numpy()
            rows.append((task["name"], len(own), expected_auc(own), expected_log_loss(own)))
    schema = {"task": pl.String, "customers": pl.Int64, "expected AUC": pl.Float64, "expected log loss": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def expected_auc(probability: NDArray[np.float64]) -> float | None:
    """AUC of calibrated probabilities [n]: Σ_{i≠j} p_i (1 − p_j) · won(i, j) / Σ_{i≠j} p_i (1 − p_j), ties won by half.
    None where no pair of a 1 and a 0 is possible."""
    p, at = np.unique(probability, return_inverse=True)
    ones = np.bincount(at.reshape(-1), weights=probability, minlength=len(p))
    zeros = np.bincount(at.reshape(-1), weights=1 - probability, minlength=len(p))
    own = float((probability * (1 - probability)).sum())  # a row is no pair with itself
    pairs = float(ones.sum() * zeros.sum()) - own
    if not pairs > 1e-12:
        return None
    below = np.cumsum(zeros) - zeros
    return (float((ones * (below + zeros / 2)).sum()) - own / 2) / pairs


def expected_log_loss(probability: NDArray[np.float64]) -> float | None:
    """Mean log loss of calibrated probabilities [n]: their entropy. None without a row."""
    from ple_model.evaluation.metrics import binary_loss

    if not len(probability):
        return None
    one, zero = (binary_loss(probability, np.full(len(probability), label)) for label in (1, 0))
    return float((probability * one + (1 - probability) * zero).mean())


def _predictions(scores: pl.DataFrame, task: Described) -> NDArray | None:
    """Published predictions in the form in which they are measured; None where they are not published so."""
    name = task["name"]
    if task["kind"] != MULTICLASS:
        column = scores[name]
        return column.cast(pl.Float64).to_numpy() if column.dtype.is_numeric() else None
    if f"{name}__p" not in scores.columns:
        return None
    return scores[f"{name}__p"].explode().to_numpy().reshape(scores.height, -1)
