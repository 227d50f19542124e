"""What needs a look: each kind once it is there, nothing where all is as it should be, always with what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from pipeline.definitions import build_definitions
from pipeline.monitoring import attention, matured
from pipeline.monitoring.record import Check
from pipeline.monitoring.summary import DRIFT, MISSING_SOURCES, VOLUME
from pipeline.settings import PromotionSettings, Settings
from pipeline.training.evaluation import Promise
from tests.pipeline.small_training import some_evaluation

DAY = date(2018, 1, 1)
TABLE = [
    {"task": "churn", "metric": "AUC ↑", "rows": "1,065", "model": "0.8645 [0.8119, 0.9082]"},
    {"task": "nba", "metric": "log loss ↓", "rows": "1,439", "model": "0.3748 [0.2878, 0.4763]"},
    {"task": "odd", "metric": "AUC ↑", "rows": "0", "model": "–"},
]
EVALUATION = replace(some_evaluation(churn="ahead"), table=TABLE, uncertainty={"churn": {"fallback_share": 0.04}})


def test_every_check_of_the_deployment_has_words_about_what_to_do(tmp_path) -> None:
    settings = Settings(home=tmp_path, promotion=PromotionSettings(shadow="on"))
    keys = build_definitions(settings).resolve_asset_graph().asset_check_keys
    assert {key.name for key in keys} <= set(attention.CHECKS)


def test_a_failure_comes_first_and_says_whether_there_are_scores() -> None:
    assert attention.of_runs("", "", True) == []
    night, training = attention.of_runs("scores: no disk", "model: no label", False)
    assert night.words == "its date has no scores. scores: no disk"
    assert "ple nightly" in night.do
    assert training.words == "model: no label"
    assert len(attention.of_runs("x" * 10**6, "", True)[0].words) < 3_000


def test_every_check_is_named_those_that_stop_first_and_a_fact_is_said_once() -> None:
    checks = [Check("drift", "no_drift", False, "columns: spend"), Check("x", "mine", True, "why")]
    facts = {DRIFT: "spend: far from the training", VOLUME: "rows fell", MISSING_SOURCES: "promotions"}
    found = attention.of_checks(checks, facts)
    assert [item.what for item in found] == ["Check mine of x failed", "Check no_drift of drift warns"]
    assert found[0].words == "why"
    assert "asset x in Dagster" in found[0].do
    assert found[1].words == "spend: far from the training"
    assert [item.words for item in attention.of_facts(facts, {"no_drift", "mine"})] == ["promotions", "rows fell"]


def skill(*rows: tuple[str, str, int, float | None, float]) -> pl.DataFrame:
    told = [(DAY, "1", *row) for row in rows]
    return pl.DataFrame(told, schema=matured.SCHEMA, orient="row")


def test_skill_below_the_promise_is_said_where_chance_does_not_explain_it() -> None:
    assert EVALUATION.promise("churn") == Promise("AUC ↑", 0.8645, 0.8119, 0.9082, 1065)
    assert EVALUATION.promise("odd") is EVALUATION.promise("none") is None
    low = skill(("churn", "auc", 1065, 0.70, 0.8645), ("churn", "ece_debiased", 1065, 0.9, 0.0))
    (found,) = attention.of_skill(low, EVALUATION)
    assert found.what == "Predictions of churn were worse than promised"
    assert "0.7 on the scores of 2018-01-01 (1,065 customers), where the evaluation promised 0.8645" in found.words
    assert attention.of_skill(skill(("churn", "auc", 30, 0.70, 0.8645)), EVALUATION) == [], "so few say nothing"
    assert attention.of_skill(skill(("churn", "auc", 1065, 0.95, 0.8645)), EVALUATION) == [], "better"
    assert attention.of_skill(skill(("nba", "log_loss", 1439, 0.2, 0.3748)), EVALUATION) == [], "lower is better"
    assert len(attention.of_skill(skill(("nba", "log_loss", 1439, 0.6, 0.3748)), EVALUATION)) == 1
    newest_first = skill(("churn", "auc", 1065, 0.86, 0.8645), ("churn", "auc", 1065, 0.70, 0.8645))
    assert attention.of_skill(newest_first, EVALUATION) == [], "an older date is over"
    assert attention.of_skill(skill(("churn", "auc", 0, None, 0.8645)), EVALUATION) == []


def test_fallbacks_are_compared_with_the_evaluation() -> None:
    assert attention.of_fallbacks({"churn": 0.08, "nba": 0.04, "none": None}, EVALUATION) == []
    assert [item.what for item in attention.of_fallbacks({"churn": 0.2, "nba": 0.06}, EVALUATION)] == [
        "Many predictions of churn are too uncertain",
        "Many predictions of nba are too uncertain",
    ]


@pytest.mark.parametrize(
    ("trained", "challenger", "words"),
    [
        ("2017-12-28", "", []),
        ("2017-12-25", "", ["The champion is old"]),
        ("2018-01-02", "", ["These scores are hindsight"]),
        ("2017-12-28", "version 3 is held", ["A challenger did not take over"]),
    ],
)
def test_the_champion_is_looked_at(trained: str, challenger: str, words: list[str]) -> None:
    found = attention.of_champion(date.fromisoformat(trained), DAY, 7, challenger)
    assert [item.what for item in found] == words


def test_quarantine_is_said_where_it_grows() -> None:
    assert attention.of_quarantine({}, None) == attention.of_quarantine({"t": 0}, None) == []
    assert attention.of_quarantine({"t": 100}, {"t": 100}) == []
    (grown,) = attention.of_quarantine({"t": 120, "u": 5}, {"t": 100, "u": 5})
    assert grown.words == "t 120 (night before 100)"
    assert attention.of_quarantine({"t": 3}, None)[0].what == "Rows were set aside"


def test_everything_that_needs_a_look_says_what_to_do() -> None:
    found = [
        *attention.of_runs("a", "b", True),
        *attention.of_checks([Check("x", name, False, "") for name in attention.CHECKS], {}),
        *attention.of_quarantine({"t": 3}, None),
    ]
    assert all(item.do for item in found)
