"""The evaluation: the model beside every baseline on test rows; it is saved and loaded whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from feature_assets.data.tables import Tables
from pipeline.assets.training_metadata import evaluation_metadata, group_tables, uncertainty_table
from pipeline.reports.drawing import Drawing
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
    joined = ids.with_columns(joined_on=pl.Series([date(2017, 6, 1)] * 60 + [date(2017, 1, 1)] * 60))
    hidden = ids.with_columns(
        gender=pl.Series(["f", "m"] * 60), birth_year=pl.Series([1940 + i % 50 for i in range(120)])
    )
    return cast("Tables", SimpleNamespace(frames={"customers": joined}, protected=hidden))


def test_the_model_stands_beside_each_baseline(trained: Material, tables: Tables, said: list[str]) -> None:
    result = evaluation.evaluate(trained.workspace, tables, trained.settings, said.append)
    assert {row["task"] for row in result.table} == set(WINDOWS)
    assert set(result.verdicts) == {baselines.CONSTANT, baselines.NETWORK, baselines.BOOSTING, baselines.OWN_PAST}
    assert set(result.verdicts[baselines.OWN_PAST]) == {"brand_prediction"}
    assert result.absent == {"churn": "the feature state has no group base"}
    assert set(result.reliability) == {"churn", "channel"}
    assert set(result.gates["churn"]) == {"deepfm"}
    assert {row["task"] for row in result.inputs} == set(WINDOWS)
    models = {row["model"] for row in result.metrics if row["task"] == "churn"}
    assert models == {evaluation.MODEL, baselines.CONSTANT, baselines.NETWORK, baselines.BOOSTING}
    assert set(result.uncertainty) == set(WINDOWS)
    assert [(row["task"], row["unit"]) for row in result.totals] == [("engagement", "days")]
    assert result.totals[0]["rows"] == len(trained.workspace.labels().filter(role="test"))
    assert "totals in natural units" in evaluation_metadata(result, Drawing(print))
    concepts = " ".join(row["tasks"] for row in result.concepts)
    assert "channel[shelf]" in concepts
    assert "channel[0]" not in concepts
    assert {(row["by"], row["group"]) for row in result.experts} >= {("all", "all"), ("cluster", "cluster 1")}
    assert {row["deepfm"] for row in result.experts} == {1.0}
    assert {row["task"] for row in result.reasons} == {row["task"] for row in result.examples} == set(WINDOWS)
    unexplained = [row for row in result.reasons if not row["source"]]
    assert len(unexplained) == len(WINDOWS)
    assert {row["class"] for row in result.examples if row["task"] == "channel"} <= {"mailer", "display", "shelf"}
    assert Evaluation.load(trained.workspace.evaluation) == result
    shown = evaluation_metadata(result, Drawing(print))
    assert {"comparison", "verdict", "reliability", "gates", "inputs", "by tenure", "by cluster"} <= set(shown)


def test_the_headline_metric_is_broken_down_by_groups(trained: Material, tables: Tables, said: list[str]) -> None:
    result = evaluation.evaluate(trained.workspace, tables, trained.settings, said.append)
    churn = {(row["by"], row["group"]): row for row in result.groups if row["task"] == "churn"}
    assert {by for by, _ in churn} == {"tenure", "cluster", "gender (protected)", "birth_year (protected)"}
    assert [group for by, group in churn if by == "gender (protected)"] == ["f", "m"]
    assert [group for by, group in churn if by == "tenure"] == ["91 to 180 days", "181 to 365 days"]
    tested = sum(row["rows"] for (by, _), row in churn.items() if by == "tenure")
    assert tested == sum(row["rows"] for (by, _), row in churn.items() if by == "cluster")
    clusters = group_tables(result)["cluster"]
    assert "labels, 50 are needed" in clusters["churn"][0]  # some three rows each


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
    assert "risk and coverage" in evaluation_metadata(shown, Drawing(print))
    assert "risk and coverage" not in evaluation_metadata(
        replace(shown, uncertainty={"churn": without}), Drawing(print)
    )


def test_the_summary_counts_verdicts_and_names_losses() -> None:
    text = some_evaluation(churn="ahead", ltv="behind", nba="level").summary()
    assert text == "- against constant: ahead on 1, level on 1, behind on 1, open on 0 of 3 tasks (behind: ltv)"


def test_an_evaluation_is_loaded_as_it_was_saved(tmp_path: Any) -> None:
    saved = some_evaluation(churn="ahead")
    saved.save(tmp_path / "evaluation.json")
    assert Evaluation.load(tmp_path / "evaluation.json") == saved
