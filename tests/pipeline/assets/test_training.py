"""The first and the last step of a training: no training into the past, no promotion against the rules."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline.assets.training import training_assets
from pipeline.partitions import as_of_partitions
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import HELD, PROMOTED, REFUSED, STATUS, RegisteredVersion, Tracking
from pipeline.settings import Settings
from pipeline.training import takeover
from pipeline.training.challenge import CHAMPION, Challenge
from pipeline.training.rehearsal import Rehearsal
from pipeline.training.workspace import Workspace
from tests.pipeline.small_training import some_evaluation
from tests.pipeline.training.test_promotion import AHEAD

DAY = "2018-01-01"


class Registry(Tracking):
    """Stands in for MLflow: aliases and tags in files."""

    folder: str
    trained: str = "2018-01-01"

    def set_alias(self, alias: str, version: str) -> None:
        Path(self.folder, alias).write_text(version)

    def version(self, number: str) -> RegisteredVersion:
        tags = Path(self.folder, f"tags-{number}")
        status = tags.read_text() if tags.exists() else ""
        day = date.fromisoformat(self.trained)
        return RegisteredVersion(number, "r", day, "s", self.dataset, Path(self.folder), status)

    def tag_version(self, version: RegisteredVersion, tags: Any) -> None:
        Path(self.folder, f"tags-{version.version}").write_text(tags[STATUS])

    def champion(self) -> RegisteredVersion | None:
        file = Path(self.folder, "champion")
        return self.version(file.read_text()) if file.exists() else None

    def numbered(self, alias: str) -> str:
        file = Path(self.folder, alias)
        return file.read_text() if file.exists() else ""

    def log_json(self, run_id: str, content: Any, path: str) -> None:
        Path(self.folder, f"{run_id}-{path}").write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def _without_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "write_card", lambda *_: None)


def last_step(home: Path, mode: str = "automatic", **verdicts: str) -> dg.ExecuteInProcessResult:
    """Materialise `training/champion` for a candidate, version 7, with these verdicts against the constant."""
    settings = Settings(home=home, promotion={"mode": mode})  # type: ignore[arg-type]  # as in the file
    dataset = settings.load_dataset()
    lake = Lake(root=str(home / "lake"))
    work = Workspace(lake.training(DAY))
    some_evaluation(**verdicts).save(work.evaluation)
    Challenge("6", "2017-11-01", "", {CHAMPION: [AHEAD]}).save(work.challenge)
    Rehearsal(3, 3, [], {}, "", 0.1).save(work.rehearsal)
    work.save_leaks([])
    work.save_version("7")
    (work.folder / "snapshots").mkdir()
    resources: dict[str, Any] = {
        "lake": lake,
        "tracking": Registry(uri="http://here", artifacts="", dataset=dataset.name, folder=str(home)),
        "settings": settings,
    }
    champion = training_assets(dataset, as_of_partitions(dataset), 7)[-1]
    result = dg.materialize([champion], partition_key=DAY, resources=resources, raise_on_error=False)
    assert not (work.folder / "snapshots").exists(), "what can be computed again is deleted either way"
    return result


def observed(result: dg.ExecuteInProcessResult) -> dg.AssetObservation:
    [event] = result.get_asset_observation_events()
    observation = event.asset_observation_data.asset_observation
    assert observation.partition == DAY
    return observation


def test_a_candidate_that_passes_takes_over(tmp_path: Path) -> None:
    result = last_step(tmp_path, churn="ahead")
    assert result.success
    assert (tmp_path / "champion").read_text() == "7"
    assert (tmp_path / "tags-7").read_text() == PROMOTED
    metadata = result.asset_materializations_for_node("training__champion")[0].metadata
    assert metadata["version"].value == "7"
    assert metadata["decision"].value == PROMOTED
    assert "ahead of the constant on 1 of 1" in str(metadata["what blocks"].value)
    assert "champion" in str(metadata["beside the champion and boosted trees"].value)
    assert metadata["model card"].value == "http://here/#/models/ple/versions/7?workflowType=machine_learning"
    assert json.loads((tmp_path / "r-promotion.json").read_text())["promote"]


@pytest.mark.parametrize("standing", [True, False])
def test_a_candidate_that_is_refused_fails_the_training_and_leaves_the_champion(standing: bool, tmp_path: Path) -> None:
    if standing:
        (tmp_path / "champion").write_text("6")
    result = last_step(tmp_path, churn="behind")
    assert not result.success
    error = result.failure_data_for_node("training__champion").error
    assert error is not None
    assert "version 7 is not promoted" in (error.message if error.cause is None else error.cause.message)
    assert (tmp_path / "champion").exists() is standing
    assert (tmp_path / "tags-7").read_text() == REFUSED
    assert "failed" in str(observed(result).metadata["what blocks"].value), "the table of the decision is in the UI"


def test_a_candidate_that_waits_for_a_person_is_no_failure_and_no_champion(tmp_path: Path) -> None:
    (tmp_path / "champion").write_text("6")
    result = last_step(tmp_path, "held", churn="ahead")
    assert result.success
    assert (tmp_path / "champion").read_text() == "6"
    assert (tmp_path / "tags-7").read_text() == HELD
    assert "ple promote 7" in str(observed(result).description)
    assert not result.asset_materializations_for_node("training__champion")


def test_without_a_refit_its_step_says_that_nothing_was_fitted(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    dataset = settings.load_dataset()
    lake = Lake(root=str(tmp_path / "lake"))
    tracking = Registry(uri="", artifacts="", dataset=dataset.name, folder=str(tmp_path))
    resources = {"lake": lake, "tracking": tracking, "settings": settings}
    step = next(a for a in training_assets(dataset, as_of_partitions(dataset), 7) if a.key.path[-1] == "refit")
    result = dg.materialize([step], partition_key=DAY, resources=resources)
    metadata = result.asset_materializations_for_node("training__refit")[0].metadata
    assert metadata["refit"].value == "off"
    assert metadata["fitted"].value == "nothing: the evaluation fit is passed on as it is"
    assert not Path(lake.training(DAY)).exists()


@pytest.mark.parametrize(("trained", "word"), [("2018-02-01", "hindsight"), ("2018-01-01", "delivery.json")])
def test_a_date_whose_future_the_champion_knows_is_refused(trained: str, word: str, tmp_path: Path) -> None:
    """A date that is merely not due goes on to the tables, which nobody has ingested here."""
    settings = Settings(home=tmp_path)
    dataset = settings.load_dataset()
    (tmp_path / "champion").write_text("6")
    tracking = Registry(uri="", artifacts="", dataset=dataset.name, folder=str(tmp_path), trained=trained)
    resources = {"lake": Lake(root=str(tmp_path / "lake")), "tracking": tracking, "settings": settings}
    decision = training_assets(dataset, as_of_partitions(dataset), 7)[0]
    result = dg.materialize([decision], partition_key=DAY, resources=resources, raise_on_error=False)
    assert not result.success
    error = result.failure_data_for_node("training__decision").error
    assert error is not None
    assert word in (error.message if error.cause is None else error.cause.message)
