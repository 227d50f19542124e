"""The leak check: a task that a shallow tree solves from the features is a feature, not a label.

Source: DATA §3; LESSONS 18, 19.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.data.shards import stable_shard
from feature_assets.labels.kinds import LeakTarget
from feature_assets.labels.registry import every_task
from feature_assets.labels.task import Task

MAX_ROWS = 6_000
MIN_ROWS = 40  # of both halves together; fewer say nothing
LEAK = 0.99

LEAK_SCHEMA = {
    "task": pl.String,
    "score": pl.Float64,
    "metric": pl.String,
    "column": pl.String,
    "leaks": pl.Boolean,
    "rows": pl.Int64,
}


def leak_check(features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Fit one shallow tree a task on half of the customers and score it on the other half.

    Depth 4 for binary and regression labels. A multiclass tree is limited by its leaves instead, two a class: a copy of
    28 ordered classes is a long chain of splits. A regression label is checked by its ranks: sixteen leaves then tell
    any copy of a feature, whatever its skew. At most 6,000 rows a task, drawn with a fixed seed.

    Args:
        features: customer_id, as_of and numeric columns (null = missing); List columns are not looked at.
        labels: customer_id, as_of and one column a task.

    Returns:
        One row a task: `score` (AUC, macro one-vs-rest AUC, or R² of ranks; null when there are too few rows or a
        single class), `metric`, `column` (the tree's first split), `leaks` (score above 0.99), `rows`.
    """
    keys = ["customer_id", "as_of"]
    numeric = [
        c for c, dtype in features.schema.items() if c not in keys and (dtype.is_numeric() or dtype == pl.Boolean)
    ]
    joined = labels.join(features.select(*keys, *numeric), on=keys, how="inner", maintain_order="left")
    x = joined.select(pl.col(numeric).cast(pl.Float32)).fill_null(np.nan).to_numpy()
    x = np.where(np.isfinite(x), x, np.nan)
    half = stable_shard("leak:" + joined["customer_id"], 2).to_numpy() == 0
    rows = [_check(task, joined[task.name], x, half, numeric) for task in every_task() if task.name in joined.columns]
    return pl.DataFrame(rows, schema=LEAK_SCHEMA)


def _check(task: Task, label: pl.Series, x: np.ndarray, half: np.ndarray, names: list[str]) -> dict[str, object]:
    label = task.kind.comparable(label)
    keep = np.flatnonzero(label.is_not_null().to_numpy())
    if len(keep) > MAX_ROWS:
        keep = np.sort(np.random.default_rng(0).choice(keep, MAX_ROWS, replace=False))
    target = task.kind.leak_target(label[keep])
    score, column = _score(target, x[keep], half[keep], names)
    return {
        "task": task.name,
        "score": score,
        "metric": target.metric,
        "column": column,
        "leaks": score is not None and score > LEAK,
        "rows": len(keep),
    }


def _score(target: LeakTarget, x: np.ndarray, half: np.ndarray, names: list[str]) -> tuple[float | None, str | None]:
    from sklearn.metrics import r2_score, roc_auc_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    fit, test = target.y[half], target.y[~half]
    if len(target.y) < MIN_ROWS or not names or len(np.unique(fit)) < 2 or len(np.unique(test)) < 2:
        return None, None
    tree = (DecisionTreeRegressor if target.regression else DecisionTreeClassifier)(**target.limits, random_state=0)
    tree.fit(x[half], fit)
    first = int(tree.tree_.feature[0])
    column = names[first] if first >= 0 else None
    if target.regression:
        return float(r2_score(test, tree.predict(x[~half]))), column
    chance = tree.predict_proba(x[~half])
    aucs = [
        roc_auc_score(test == c, chance[:, i])
        for i, c in enumerate(tree.classes_)
        if 0 < int((test == c).sum()) < len(test)
    ]
    return (float(np.mean(aucs)) if aucs else None), column
