"""The summary of a night: tasks beside their baselines, and facts; a failed training is one of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.home.folder import Home
from pipeline.monitoring.summary import (
    ALARMING,
    DRIFT,
    MISSING_SOURCES,
    OFF,
    SUMMARY,
    TRAINING_FAILED,
    VOLUME,
    summarise,
    tasks_off,
)
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion
from tests.pipeline.small_training import some_evaluation

SCORES = pl.DataFrame(
    {
        "customer_id": ["a", "b", "c"],
        "churn": [0.1, 0.2, 0.9],
        "churn__u": [0.2, 0.4, 0.9],
        "churn__fallback": [True, False, True],
        "churn__eligible": [True, True, False],
        "missing_sources": [[], [], []],
    },
    schema_overrides={"missing_sources": pl.List(pl.String)},
)


@pytest.mark.parametrize(("trained", "hindsight"), [("2017-12-01", False), ("2018-02-01", True)])
def test_facts_of_a_night(trained: str, hindsight: bool, tmp_path: Path, dataset: DatasetConfig) -> None:
    champion = RegisteredVersion("2", "r", date.fromisoformat(trained), "s1", dataset.name, tmp_path)
    arguments = ("2018-01-01", SCORES, champion, some_evaluation(churn="ahead"), Lake(root=str(tmp_path)), dataset)
    summary = summarise(*arguments)
    assert summary["tasks"][0]["mean u"] == "0.30"
    assert summary["tasks"][0]["fallback"] == "50.0%"
    assert summary["facts"]["model version"] == f"2, trained as of {trained}"
    assert ("hindsight" in summary["facts"]["as-of date"]) is hindsight
    assert not set(ALARMING) & set(summary["facts"])
    unranked = summarise(arguments[0], SCORES.with_columns(churn__u=pl.lit(None, pl.Float64)), *arguments[2:])
    assert unranked["tasks"][0]["mean u"] == "–"
    failed = summarise(*arguments, training_failure="no label")["facts"][TRAINING_FAILED]
    assert failed == "no label (version 2 goes on scoring)"


def test_an_unusual_delivery_is_a_fact(tmp_path: Path, dataset: DatasetConfig) -> None:
    champion = RegisteredVersion("2", "r", date(2017, 12, 1), "s1", dataset.name, tmp_path)
    marked = SCORES.with_columns(missing_sources=pl.Series([["promotions"]] * 3))
    rest = (champion, some_evaluation(churn="ahead"), Lake(root=str(tmp_path)), dataset)
    facts = summarise("2018-01-01", marked, *rest, volume=["products: rows fell to 1, before at least 9"])["facts"]
    assert facts[MISSING_SOURCES].startswith("promotions: what depends on it is masked")
    assert facts[VOLUME] == "products: rows fell to 1, before at least 9"


def test_tasks_with_too_few_labels_are_a_fact_and_known_until_the_next_night(
    tmp_path: Path, dataset: DatasetConfig
) -> None:
    home = Home(tmp_path)
    champion = RegisteredVersion("2", "r", date(2017, 12, 1), "s1", dataset.name, tmp_path)
    rest = (SCORES, champion, some_evaluation(churn="ahead"), Lake(root=str(tmp_path)), dataset)
    assert tasks_off(home, dataset) == {}
    for day, off in (
        ("2018-01-01", {"ltv": "12 customers have a label", "cvr": "none"}),
        ("2018-01-02", {"cvr": "none"}),
    ):
        summary = summarise(day, *rest, off=off)
        publish_json(summary, home.reports / f"as_of={day}" / SUMMARY)
        assert summary["facts"][OFF] == "; ".join(f"{task}: {why}" for task, why in off.items())
    assert tasks_off(home, dataset) == {"cvr": "none"}
    assert tasks_off(home, dataset.model_copy(update={"title": "another"})) == {}
    assert OFF not in summarise("2018-01-03", *rest)["facts"]


def test_columns_that_drift_are_a_fact(tmp_path: Path, dataset: DatasetConfig) -> None:
    champion = RegisteredVersion("2", "r", date(2017, 12, 1), "s1", dataset.name, tmp_path)
    rest = (champion, some_evaluation(churn="ahead"), Lake(root=str(tmp_path)), dataset)
    facts = summarise("2018-01-01", SCORES, *rest, drifted=["spend", *"abcdef"])["facts"]
    assert facts[DRIFT] == "spend, a, b, c, d and 2 more: far from the training, see the asset drift"
