"""The rehearsal of a night, and the step that makes it beside the comparison with the champion."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from feature_assets.events.view import View
from pipeline.assets import training
from pipeline.assets.training import training_assets
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.settings import Settings
from pipeline.training import rehearsal
from pipeline.training.challenge import CHAMPION, Challenge
from pipeline.training.rehearsal import Rehearsal, rehearse
from ple_model.serving.bundle import load_bundle
from ple_model.serving.scorer import Scorer
from tests.pipeline.small_training import AS_OF, WINDOWS, Material


def view_of(material: Material, extra: int = 0) -> Any:
    """A view of the newest snapshot's customers, and of so many that it does not have."""
    rows = pl.read_parquet(material.workspace.snapshot(material.plan.dates[-1]), columns=["customer_id"])
    more = pl.DataFrame({"customer_id": [f"new{i}" for i in range(extra)]}, schema={"customer_id": pl.String})
    return SimpleNamespace(customers=pl.concat([rows, more]), has=lambda _: True)


@pytest.fixture(autouse=True)
def _everybody_is_eligible(monkeypatch: pytest.MonkeyPatch) -> None:
    def everybody(view: View, names: list[str]) -> pl.DataFrame:
        return view.customers.select("customer_id", *(pl.lit(True).alias(name) for name in names))

    monkeypatch.setattr(rehearsal, "eligible", everybody)


def test_a_sound_bundle_scores_everybody(trained: Material) -> None:
    times = iter([10.0, 10.6])
    found = rehearse(trained.workspace, lambda _: view_of(trained), lambda: next(times))
    assert (found.customers, found.scored, found.problems, found.mismatch) == (120, 120, [], "")
    assert found.seconds_per_1000 == pytest.approx(5.0)
    assert set(found.fallback) == set(WINDOWS)
    assert Rehearsal.load(trained.workspace.rehearsal) == found


def test_the_time_that_others_take_counts_nothing(trained: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring that waits a second, as on a busy machine, in which it takes no processor time."""
    scored = Scorer(load_bundle(trained.workspace.candidate)).score(
        pl.read_parquet(trained.workspace.snapshot(trained.plan.dates[-1]))
    )

    def waits(*_: object) -> pl.DataFrame:
        time.sleep(1.0)
        return scored

    monkeypatch.setattr(Scorer, "score", waits)
    found = rehearse(trained.workspace, lambda _: view_of(trained))
    assert found.seconds_per_1000 * 120 / 1_000 < 0.5


def test_customers_without_a_row_and_another_schema_are_found(trained: Material) -> None:
    assert trained.workspace.bundle.is_dir()
    (trained.workspace.bundle / "schema.json").write_text(json.dumps({"digest": "of something else"}))
    found = rehearse(trained.workspace, lambda _: view_of(trained, extra=2))
    assert (found.customers, found.scored) == (122, 120)
    assert "2 customers are missing" in found.problems[0]
    assert found.mismatch.startswith("the schema of the bundle is of something else")


class Registry(Tracking):
    """Stands in for MLflow: version 6, in a folder, is the champion."""

    folder: str
    state: str

    def champion(self) -> RegisteredVersion | None:
        return RegisteredVersion("6", "r6", AS_OF, self.state, self.dataset, Path(self.folder))

    def run_exists(self, run_id: str) -> bool:
        return run_id == "r7"

    def log_json(self, run_id: str, content: Any, path: str) -> None:
        Path(self.folder, f"{run_id}-{path}").write_text(json.dumps(content))


class Delivered(Lake):
    """Whatever the date, the tables are these words: the steps below are given their parts."""

    def tables(self, as_of: str) -> Any:
        assert as_of == AS_OF.isoformat()
        return SimpleNamespace(dataset="the data set")

    def training(self, as_of: str) -> Path:
        assert as_of == AS_OF.isoformat()
        return Path(self.root)


def test_the_step_compares_with_the_champion_by_its_own_features_and_rehearses(
    trained: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = tmp_path / "champion"
    shutil.copytree(trained.workspace.bundle, champion)
    trained.workspace.save_version("7")
    trained.workspace.save_run("r7")
    asked: list[Any] = []

    def matrix(view: Any, state: Any, lost: Any) -> pl.DataFrame:
        asked.append((state.version, lost.sources))
        return pl.read_parquet(trained.workspace.snapshot(view.day))

    def view(day: Any, tables: Any, plan: Any, rows: int) -> Any:
        assert (tables.dataset, plan, rows) == ("the data set", trained.plan, trained.settings.max_training_rows)
        return SimpleNamespace(**vars(view_of(trained)), day=day)

    monkeypatch.setattr(training.material, "training_plan", lambda *_: trained.plan)
    monkeypatch.setattr(training.training_set, "view_of", view)
    monkeypatch.setattr(training.lost_sources, "matrix_of", matrix)
    settings = Settings(home=tmp_path)
    dataset = settings.load_dataset()
    version = trained.state.version
    server = Registry(uri="", artifacts="", dataset=dataset.name, folder=str(champion), state=version)
    lake = Delivered(root=str(trained.workspace.folder))
    resources = {"lake": lake, "tracking": server, "settings": trained.settings}
    step = next(a for a in training_assets(dataset, as_of_partitions(dataset), 7) if a.key.path[-1] == "challenge")
    result = dg.materialize([step], partition_key=AS_OF.isoformat(), resources=resources)
    assert asked == [(version, ())] * len(trained.plan.holdout)
    found = Challenge.load(trained.workspace.challenge)
    assert found.champion == "6"
    assert found.of(CHAMPION)["churn"].verdict == "level"
    assert json.loads((champion / "r7-challenge.json").read_text())["champion"] == "6"
    assert Rehearsal.load(trained.workspace.rehearsal).scored == 120
    metadata = result.asset_materializations_for_node("training__challenge")[0].metadata
    assert metadata["champion"].value == f"version 6, trained as of {AS_OF}"
    assert "less champion" in str(metadata["beside the champion and boosted trees"].value)
    assert "120 of 120 customers" in str(metadata["rehearsal"].value)
