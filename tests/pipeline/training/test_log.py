"""A training in MLflow: one run, steps that count on through the phases, parameters flat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.reports.drawing import Drawing
from pipeline.resources.tracking import Tracking
from pipeline.training import log, model
from ple_model.training.report import EpochReport
from ple_model.training.trainer import FitResult
from tests.pipeline.small_training import AS_OF, Material, some_evaluation


class Runs:
    """Stands in for MLflow: keeps what was logged."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.metrics: dict[int, dict[str, Any]] = {}
        self.params: dict[str, Any] = {}
        self.datasets: dict[str, tuple[int, str]] = {}
        self.artifacts: list[str] = []

    def start_run(self, name: str, tags: dict[str, str]) -> str:
        self.runs.append(f"{name} {tags['as_of']}")
        return f"run-{len(self.runs)}"

    def run_exists(self, run_id: str) -> bool:
        return run_id.removeprefix("run-").isdigit() and int(run_id.removeprefix("run-")) <= len(self.runs)

    def log_metrics(self, _: str, metrics: dict[str, Any], step: int = 0) -> None:
        self.metrics[step] = metrics

    def log_params(self, _: str, params: dict[str, Any]) -> None:
        self.params |= params

    def log_dataset(self, _: str, frame: pl.DataFrame, name: str, digest: str, context: str) -> None:
        assert name.endswith(context)
        self.datasets[context] = (frame.height, digest)

    def log_figures(self, _: str, figures: dict[str, Any]) -> None:
        self.artifacts += figures

    def log_json(self, _: str, __: Any, path: str) -> None:
        self.artifacts.append(path)


def report(phase: int, epoch: int) -> EpochReport:
    return EpochReport(
        phase=phase,
        epoch=epoch,
        score=0.1,
        best=True,
        loss=1.0,
        train_loss={"churn": 0.7},
        valid_loss={"churn": None},
        skill={"churn": 0.1},
        weights={"churn": 1.0},
        gates={"churn": {"deepfm": 1.0}},
        gate_entropy=0.0,
        mean_gate_entropy=0.0,
        learning_rate=1e-3,
        seconds=1.0,
        rows_per_second=10.0,
    )


def test_a_run_is_opened_once_and_anew_where_the_server_lost_it(made: Material) -> None:
    runs = Runs()
    tracking = cast("Tracking", runs)
    assert log.open_run(made.workspace, tracking, AS_OF, {}) == "run-1"
    assert log.open_run(made.workspace, tracking, AS_OF, {}) == "run-1"
    runs.runs.clear()
    assert log.open_run(made.workspace, tracking, AS_OF, {"a": "b"}) == "run-1"
    assert runs.runs == ["training 2017-10-01 2017-10-01"]


def test_a_training_logs_epochs_parameters_and_data(made: Material, dataset: DatasetConfig, said: list[str]) -> None:
    runs = Runs()
    history = (report(1, 1), report(1, 2), report(2, 1))
    stopped = {1: "epochs", 2: "epochs"}
    result = FitResult((1, 2), 0.1, {"churn": (1, 2)}, {}, stopped, history, None, "cpu", "float32", 32, {})
    network = model.model_config(made.settings, made.state, made.label_state, made.plan, made.columns).to_dict()
    parameters = log.parameters_of(made.settings, network, made.plan, dataset, made.state.version)
    log.log_training(made.workspace, cast("Tracking", runs), "r", result, parameters, dataset, 2, Drawing(said.append))
    assert sorted(runs.metrics) == [1, 2, 3]
    assert runs.metrics[3]["train_loss/churn"] == 0.7
    assert runs.metrics[3]["valid_loss/churn"] is None
    assert runs.params["model.inputs.present"] == 6
    assert "model.inputs.columns" not in runs.params
    assert runs.params["training.phase1_epochs"] == 1
    assert runs.params["training_snapshots"] == 3
    assert runs.datasets["train"] == (360, "made by hand-train")
    assert runs.artifacts == ["plots/learning_curve.png"]


def test_an_evaluation_is_logged_with_its_figures(said: list[str]) -> None:
    runs = Runs()
    log.log_evaluation(some_evaluation(churn="ahead"), cast("Tracking", runs), "r", Drawing(said.append))
    assert runs.metrics == {0: {"_headline/churn AUC": 0.7, "test/churn/auc": 0.7}}
    assert min(runs.metrics[0]) == "_headline/churn AUC"
    runs, totals = Runs(), [{"task": "ltv", "unit": "currency", "ratio": 1.02}]
    metrics = [{"task": "category_uplift", "model": "model", "metric": "qini food & home", "value": 2.0}]
    given = replace(some_evaluation(churn="better"), metrics=metrics, totals=totals)
    log.log_evaluation(given, cast("Tracking", runs), "r", Drawing(said.append))
    assert runs.metrics[0] == {
        "_headline/churn AUC": None,
        "test/category_uplift/qini food _ home": 2.0,
        "test/ltv/total_predicted_over_observed": 1.02,
    }
    assert runs.artifacts == ["evaluation.json", "plots/calibration.png", "plots/gates.png"]


def test_a_figure_that_fails_costs_only_itself(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise ValueError("no axes")

    monkeypatch.setattr(log.plots, "gate_heatmap", broken)
    runs, drawing = Runs(), Drawing(said.append)
    log.log_evaluation(some_evaluation(churn="ahead"), cast("Tracking", runs), "r", drawing)
    assert "plots/calibration.png" in runs.artifacts
    assert "plots/gates.png" not in runs.artifacts
    assert drawing.failed == {"plots/gates.png": "ValueError: no axes"}
    assert len(said) == 1


def test_named_settings_are_keyed_by_their_names() -> None:
    nested = {"a": {"b": 1}, "experts": [{"name": "deepfm", "width": 8}], "list": [1, 2]}
    assert log.flatten(nested, "m") == {"m.a.b": 1, "m.experts.deepfm.width": 8, "m.list": [1, 2]}
