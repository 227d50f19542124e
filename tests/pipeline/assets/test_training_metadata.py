"""What the UI shows of an evaluation: the comparison and its legend first, every number under a name."""

from __future__ import annotations

from dataclasses import replace

from feature_assets.labels import every_task
from pipeline.assets.training_metadata import TOGETHER, evaluation_metadata, leaderboard, metric_table
from pipeline.reports.drawing import Drawing
from tests.pipeline.small_training import some_evaluation

FOLDED_FROM = 1_000
"""Characters from which the UI shows a Markdown text only after a click."""


def test_the_comparison_of_sixteen_tasks_is_shown_open() -> None:
    row = {"task": "churn", "metric": "log loss ↓", "rows": "10,212", "customers": "2,100"}
    models = {"model": "1.9854 [1.9527, 2.0157]", "constant": "2.4484 ▲", "network": "2.0328 ▲", "LightGBM": "1.9917 ▲"}
    rows = [
        row | {"task": task.name} | models | {"BG/NBD": "1.7138 ▲" if task.buying else "–", "own past": "–"}
        for task in every_task()[:16]
    ]
    assert len(rows) == 16
    evaluation = replace(some_evaluation(), table=rows)
    text = leaderboard(evaluation)
    assert "|spending_category, log loss ↓|1.985|2.448 ▲|2.033 ▲|1.992 ▲|||" in text.replace(TOGETHER, " ")
    assert all(f"{TOGETHER}{sign}|" in text for sign in "↓▲"), "a sign on a line of its own"
    assert len(text) < FOLDED_FROM, len(text)
    assert (
        leaderboard(replace(evaluation, table=[row | {"model": "– (no label)"}]))
        .splitlines()[-1]
        .endswith("|– (no label)|")
    )


def test_the_comparison_and_its_legend_come_first_and_no_key_is_bare() -> None:
    evaluation = replace(
        some_evaluation(churn="ahead"), concepts=[{"latent": 3}], concept_statistics={"l0": 5.0, "dead": 0.1}
    )
    shown = evaluation_metadata(evaluation, Drawing(print))
    assert list(shown)[:2] == ["comparison", "legend"]
    assert shown["concepts: mean number of active latents a row"] == 5.0
    assert not {"l0", "dead", "explained_variance"} & set(shown)


def test_metrics_are_a_leaderboard() -> None:
    metrics = [
        {"task": "churn", "model": model, "metric": "AUC", "value": value}
        for model, value in {"model": 0.8, "constant": 0.5}.items()
    ]
    table = metric_table(replace(some_evaluation(), metrics=metrics))
    assert table.to_dicts() == [{"task": "churn", "metric": "AUC", "model": 0.8, "constant": 0.5}]
    assert metric_table(replace(some_evaluation(), metrics=[])).is_empty()
