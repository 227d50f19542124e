"""The table of scores: computed from a feature matrix and a bundle, described for readers, checked before publication.

Training and the assets both use it. Where and when scores are published belongs to `assets/scoring.py`.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

#: Columns of a task that may be null in every row: it publishes no uncertainty, or has no region of stated coverage.
WHOLE_OR_NULL = ("__u", "__low", "__high", "__set")


def score_matrix(matrix: pl.DataFrame, bundle: Path) -> pl.DataFrame:
    """Scores of a feature matrix with the bundle in a folder."""
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer

    return Scorer(load_bundle(bundle)).score(matrix)


def score_meanings(tasks: Sequence[dict[str, str]]) -> dict[str, str]:
    """Column → meaning, for the UI and the README. `tasks`: the bundle's tasks.json."""
    meanings = {
        "customer_id": "customer",
        "as_of": "as-of date: the prediction knows events before it",
        "top_experts": "the three experts with most weight in the gates, heaviest first",
        "hindsight": "true where the model was trained on events at or after the as-of date",
        "model_version": "version of the registered model `ple`",
        "state_version": "version of the fitted feature state that travelled with the model",
        "run_id": "Dagster run that wrote these rows",
    }
    from ple_model.tasks import kind_of

    for task in tasks:
        meanings |= kind_of(task["kind"]).score_meanings(task)
    return meanings


def find_problems(scores: pl.DataFrame, customers: pl.Series) -> list[str]:
    """Problems of a table of scores in words; empty if it may be published."""
    problems = []
    if scores["customer_id"].n_unique() != scores.height:
        problems.append("a customer has more than one row")
    missing = set(customers.to_list()) ^ set(scores["customer_id"].to_list())
    if missing:
        problems.append(f"{len(missing)} customers are missing or unknown, e.g. {sorted(missing)[:3]}")
    for name, dtype in scores.schema.items():
        column = scores[name]
        if name.endswith(WHOLE_OR_NULL) and column.null_count() == scores.height:
            continue
        if column.null_count():
            problems.append(f"{name} has {column.null_count()} nulls")
        elif dtype.is_float() and not column.is_finite().all():
            problems.append(f"{name} has values that are not finite")
        elif name.endswith("__p"):
            off = (column.list.sum() - 1.0).abs().max()
            if not isinstance(off, float) or off > 1e-6:
                problems.append(f"{name} does not sum to 1 (off by {off!r})")
        elif name.endswith("__u") and not column.is_between(0.0, 1.0).all():
            problems.append(f"{name} leaves [0, 1]")
    return problems


def distribution(scores: pl.DataFrame, tasks: Sequence[str]) -> pl.DataFrame:
    """Distribution of each task's prediction over the customers."""
    rows = []
    for task in tasks:
        column = scores[task]
        numeric = column.dtype.is_numeric()
        common = None if numeric else column.value_counts(sort=True).row(0)
        rows.append(
            {
                "task": task,
                "5 %": column.quantile(0.05) if numeric else None,
                "median": column.median() if numeric else None,
                "95 %": column.quantile(0.95) if numeric else None,
                "most common": f"{common[0]!s} ({common[1] / scores.height:.0%})" if common else None,
                "mean uncertainty": scores[f"{task}__u"].mean(),
                "fallback share": scores[f"{task}__fallback"].mean(),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)
