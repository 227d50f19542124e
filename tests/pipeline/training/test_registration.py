"""A candidate is registered once, with its evaluation, signature rows and tags."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dagster as dg
import polars as pl
import pytest

from feature_assets.data.dataset import DatasetConfig
from feature_assets.events.view import View
from pipeline.home.folder import Home
from pipeline.monitoring import reference
from pipeline.monitoring.bins import count
from pipeline.resources import logged_model
from pipeline.resources.tracking import CHALLENGER, PROMOTED, RegisteredVersion, Tracking
from pipeline.training.evaluation import Evaluation
from pipeline.training.registration import register
from tests.damage import flip
from tests.pipeline.small_training import AS_OF, Material, some_evaluation


class Registry:
    """Stands in for MLflow."""

    def __init__(self) -> None:
        self.versions: dict[str, RegisteredVersion] = {}
        self.aliases: dict[str, str] = {}
        self.calls: list[tuple[Path, pl.DataFrame, pl.DataFrame, dict[str, str]]] = []
        self.finished: list[str] = []
        self.artifacts: dict[str, Any] = {}

    def version_of_run(self, run_id: str) -> RegisteredVersion | None:
        return self.versions.get(run_id)

    def register(
        self,
        run_id: str,
        bundle: Path,
        example: pl.DataFrame,
        outputs: pl.DataFrame,
        tags: dict[str, str],
        metrics: dict[str, float],
        about: str,
    ) -> RegisteredVersion:
        self.calls.append((bundle, example, outputs, tags))
        self.metrics, self.about = metrics, about
        made = RegisteredVersion("5", run_id, AS_OF, tags["state_version"], tags["dataset"], bundle)
        self.versions[run_id] = made
        return made

    def set_alias(self, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def version_tags(self, _: str) -> dict[str, str]:
        return self.calls[-1][3]

    def read_json(self, version: RegisteredVersion, name: str) -> Any:
        return json.loads((version.folder / name).read_text())

    def log_text(self, _: str, text: str, path: str) -> None:
        self.artifacts[path] = text

    def log_json(self, _: str, content: Any, path: str) -> None:
        self.artifacts[path] = content

    def describe_version(self, _: str, text: str) -> None:
        self.description = text

    def describe_run(self, _: str, text: str) -> None:
        self.note = text

    def finish(self, run_id: str) -> None:
        self.finished.append(run_id)


def test_a_candidate_is_registered_once(trained: Material, dataset: DatasetConfig) -> None:
    registry = Registry()
    evaluation = some_evaluation(churn="ahead")
    evaluation.save(trained.workspace.evaluation)
    labels = trained.label_state.model_copy(update={"off": {"ltv": "12 customers have a training label"}})
    (trained.workspace.bundle / "labels.json").write_text(json.dumps(labels.to_dict()))
    for _ in range(2):  # killed behind the registration, before the run was finished
        registry.artifacts.clear()
        registry.finished.clear()
        version = register(trained.workspace, cast("Tracking", registry), "r1", dataset, AS_OF)
        assert version.version == trained.workspace.version() == "5"
    assert len(registry.calls) == 1
    bundle, example, outputs, tags = registry.calls[0]
    assert Evaluation.load(bundle / "evaluation.json") == evaluation
    assert example.columns == ["customer_id", "as_of", *trained.state.present, "cluster_probs", "state_version"]
    assert example.height == outputs.height == 2
    assert "churn" in outputs.columns
    assert tags == {"as_of": "2017-10-01", "state_version": trained.state.version, "dataset": dataset.name}
    assert registry.metrics == {"_headline/churn AUC": 0.7}
    assert dataset.notice in registry.about
    same = "the evaluation fit, which saw no test row"
    assert f"Scores by {same}. Figures of {same}." in registry.artifacts["card.md"]
    assert "Off for want of labels: ltv (12 customers have a training label)." in registry.artifacts["card.md"]
    assert "not judged yet" in registry.description
    assert "| churn | AUC ↑ |" in registry.description
    assert registry.artifacts["card.json"]["sections"][0]["heading"] == "Promotion"
    assert registry.aliases == {CHALLENGER: "5"}
    assert registry.finished == ["r1"]
    registry.versions["r1"] = replace(version, status=PROMOTED)
    register(trained.workspace, cast("Tracking", registry), "r1", dataset, AS_OF)
    assert registry.finished == ["r1"], "a version that is judged has its card and its run has ended"


def test_the_registered_model_reads_a_feature_matrix_without_a_warning(
    trained: Material,
    dataset: DatasetConfig,
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also: its requirements are public versions, the page of the logged model names the registered version, and a
    version of which one bit was altered is refused by the name of the file; removed, its files are gone."""
    import mlflow

    home = Home(tmp_path / "home")
    shutil.copytree(prepared, home.root)
    home.prepare()
    monkeypatch.setattr(logged_model, "installed", lambda name: "2.13.0+cpu" if name == "torch" else "1.0")
    server = Tracking(uri=home.tracking_uri, artifacts=str(home.mlflow / "artifacts"), dataset=dataset.name)
    some_evaluation(churn="ahead").save(trained.workspace.evaluation)
    run = server.start_run("training", {})
    version = register(trained.workspace, server, run, dataset, AS_OF)
    [model] = server.client.search_logged_models([server.experiment_id])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "ple", "version": version.version}]
    model_folder = version.folder.parents[1]
    requirements = (model_folder / "requirements.txt").read_text().split()
    assert "torch==2.13.0" in requirements
    assert not [line for line in requirements if "+" in line]

    matrix = pl.read_parquet(trained.workspace.snapshot(trained.plan.dates[-1])).with_columns(
        pl.lit(trained.state.version).alias("state_version")
    )
    mlflow.set_tracking_uri(home.tracking_uri)
    warned: list[str] = []
    monkeypatch.setattr("mlflow.models.utils._logger.warning", lambda text, *_: warned.append(text))
    scored = mlflow.pyfunc.load_model(f"models:/ple/{version.version}").predict(matrix.to_pandas())
    assert warned == []
    assert scored["as_of"].dt.date.unique().tolist() == [trained.plan.dates[-1]]

    files = [file for file in sorted(version.folder.rglob("*")) if file.is_file()]
    assert {"evaluation.json", "calibration.json", "weights.safetensors", "state.npz"} <= {file.name for file in files}
    for file in files:
        content = file.read_bytes()
        flip(file, 0.4)
        with pytest.raises(dg.Failure, match=rf"version 1 of the model is refused: .*was altered: .*{file.name}"):
            server.version(version.version)
        file.write_bytes(content)
    assert server.version(version.version) == version
    (version.folder / "evaluation.json").unlink()
    with pytest.raises(dg.Failure, match=r"evaluation\.json"):
        server.version_of_run(run)

    failed = [server.start_run("training", {}) for _ in range(2)]
    assert server.numbers() == ["1"]
    assert [alias.version for alias in server.aliased()] == ["1"]
    assert server.runs_without_version() == failed[:1]  # the newest may be under way
    assert server.model_files("1") == model_folder.parent
    server.remove_version("1")
    server.remove_run(failed[0])
    assert not model_folder.exists()
    assert server.numbers() == server.aliased() == server.runs_without_version() == []


def test_the_bundle_carries_the_reference_of_its_inputs_and_scores(
    trained: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    days: list[object] = []
    snapshot = pl.read_parquet(trained.workspace.snapshot(trained.plan.dates[-1]))
    eligible = snapshot.select("customer_id", *(pl.lit(True).alias(task) for task in trained.plan.windows))
    monkeypatch.setattr(reference, "eligible", lambda *_: eligible)
    reference.add_reference(trained.workspace, lambda day: cast("View", days.append(day)))
    assert days == [trained.plan.dates[-1]]
    bins = pl.read_parquet(trained.workspace.candidate / reference.FILE)
    assert set(bins["column"]) >= {*trained.state.present, "churn", "churn__u", "churn__eligible", "channel"}
    assert (bins["counts"].list.sum() == snapshot.height).all()
    assert count(snapshot, bins.head(6)) == bins["counts"].head(6).to_list()
