"""The fits of a version in words: which one scores, which one the figures are of, what each has learnt from."""

from typing import Any

import polars as pl

from feature_assets.snapshots import SnapshotPlan

SCORES, FIGURES = "scores", "figures"
"""Notes of a bundle: the fit that scores, and the fit that all reported figures are of."""
LEARNT_UNTIL = "learnt_until"
"""Note of a bundle: the evaluation fit has learnt from no label whose window reaches past this date."""
_EVALUATION = "the evaluation fit, which saw no test row"


def notes(as_of: str, refit_labels: pl.DataFrame | None = None) -> dict[str, str]:
    """Which fit is which (`SCORES`, `FIGURES`).

    Args:
        as_of: the training date.
        refit_labels: labels of the rows of a refit; None without one.
    """
    if refit_labels is None:
        return {SCORES: f"by {_EVALUATION}", FIGURES: f"of {_EVALUATION}"}
    rows = f"{refit_labels.height:,} rows, test rows among them"
    return {
        SCORES: f"by the refit: trained again, after the evaluation, on all labels matured by {as_of} ({rows})",
        FIGURES: f"of {_EVALUATION}; it is kept in evaluation_fit/",
    }


def trained_on(labels: pl.DataFrame, role: str) -> dict[str, str]:
    """Task → how many labels of which snapshots the rows of a role hold."""
    words = {}
    for task, days in _days(labels.filter(pl.col("role") == role)).items():
        dates = f" of {days.n_unique()} dates, {days.min()!s} to {days.max()!s}" if len(days) else ""
        words[task] = f"{len(days):,} labels{dates}"
    return words


def label_table(labels: pl.DataFrame, refit_labels: pl.DataFrame, plan: SnapshotPlan) -> pl.DataFrame:
    """By task, how many labels either fit learns from and how new they are."""
    first, second = _days(labels.filter(pl.col("role") == "train")), _days(refit_labels)
    rows: list[dict[str, Any]] = [
        {
            "task": task,
            "window in days": window,
            "labels of the evaluation fit": len(first[task]),
            "the newest of": str(first[task].max()),
            "labels of the refit": len(second[task]),
            "the newest then of": str(second[task].max()),
        }
        for task, window in plan.windows.items()
    ]
    return pl.DataFrame(rows)


def _days(labels: pl.DataFrame) -> dict[str, pl.Series]:
    """Task → as-of dates of its labels."""
    tasks = [name for name in labels.columns if name not in ("customer_id", "as_of", "role")]
    return {task: labels.filter(pl.col(task).is_not_null())["as_of"] for task in tasks}
