"""The evaluation: the model beside every baseline on test rows; it is saved and loaded whole."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from feature_assets.data.tables import Tables
from pipeline.assets.training_metadata import evaluation_metadata, uncertainty_table
from pipeline.training import baselines, evaluation
from pipeline.training.evaluation import Evaluation
from tests.pipeline.small_training import WINDOWS, Material, some_evaluation


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Everybody has bought brand a once."""

    ids = pl.DataFrame({"customer_id": [f"c{i:03d}" for i in range(120)]})
    lines = pl.DataFrame({"row": range(120), "brand": ["a"] * 120}, schema_overrides={"row": pl.UInt32})

    def view(*_: Any) -> Any:
        events = SimpleNamespace(frame=lambda _: lines)
        return SimpleNamespace(customers=ids, events=lambda *_, **__: events)

    monkeypatch.setattr(baselines, "View", view)
    return cast("Tables", object())


def test_the_model_stands_beside_each_baseline(trained: Material, tables: Tables, said: list[str]) -> None:
    result = evaluation.evaluate(trained.workspace, tables, trained.settings, said.append)
    assert {row["task"] for row in result.table} == set(WINDOWS)
    assert set(result.verdicts) == {baselines.CONSTANT, baselines.NETWORK, baselines.BOOSTING, baselines.OWN_PAST}
    assert set(result.verdicts[baselines.OWN_PAST]) == {"brand_prediction"}
    assert set(result.reliability) == {"churn", "channel"}
    assert set(result.gates["churn"]) == {"deepfm"}
    assert {row["task"] for row in result.inputs} == set(WINDOWS)
    models = {row["model"] for row in result.metrics if row["task"] == "churn"}
    assert models == {evaluation.MODEL, baselines.CONSTANT, baselines.NETWORK, baselines.BOOSTING}
    assert set(result.uncertainty) == set(WINDOWS)
    assert Evaluation.load(trained.workspace.evaluation) == result
    assert {"comparison", "verdict", "reliability", "gates", "inputs"} <= set(evaluation_metadata(result))


def test_what_an_uncertainty_is_worth_is_shown_where_one_is_published() -> None:
    told = {"uncertainty": "by the spread", "fallback": "always false: none", "fallback_share": 0.0}
    worth = {
        "ranking": {"estimate": 0.2, "low": 0.1, "high": 0.3, "reason": ""},
        **{"aurc": 0.3, "aurc_random": 0.5, "aurc_best": 0.1, "error": [0.1, 0.2, 0.3, 0.9]},
        "curve": [[0.5, 0.2], [1.0, 0.5]],
    }
    held = {"held": {"estimate": 0.9, "low": None, "high": None, "reason": ""}, "size": 2.0}
    with_u = {**told, "signal": "spread", "region_level": "90%", "selective": worth, "coverage": held}
    without = {**told, "signal": None, "region_level": "", "selective": None, "coverage": None}
    shown = replace(some_evaluation(churn="better"), uncertainty={"ltv": with_u, "churn": without})
    ltv, churn = uncertainty_table(shown.uncertainty).to_dicts()
    assert ltv["ranks errors among equal predictions"] == "0.200 [0.100, 0.300]"
    assert ltv["mean error by quarter of u"] == "0.100 · 0.200 · 0.300 · 0.900"
    assert ltv["held"] == "0.900"
    assert churn["held"] == churn["area under risk and coverage (random, best)"] == "–"
    assert "risk and coverage" in evaluation_metadata(shown)
    assert "risk and coverage" not in evaluation_metadata(replace(shown, uncertainty={"churn": without}))


def test_the_summary_counts_verdicts_and_names_losses() -> None:
    text = some_evaluation(churn="better", ltv="worse", nba="level").summary()
    assert text == "- against constant: better on 1, level on 1, worse on 1 of 3 tasks (worse: ltv)"


def test_an_evaluation_is_loaded_as_it_was_saved(tmp_path: Any) -> None:
    saved = some_evaluation(churn="better")
    saved.save(tmp_path / "evaluation.json")
    assert Evaluation.load(tmp_path / "evaluation.json") == saved
