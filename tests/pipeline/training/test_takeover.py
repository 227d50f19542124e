"""What follows from a judgement and from a person's word, on a real MLflow: aliases, tags, cards, jobs, commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from feature_assets.data.dataset import DatasetConfig
from pipeline.cli import main
from pipeline.home.folder import Home
from pipeline.resources.tracking import (
    CHALLENGER,
    HELD,
    NOTE,
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    RUN_NOTE_LENGTH,
    STATUS,
    TAG_LENGTH,
    RegisteredVersion,
    Tracking,
)
from pipeline.training import promotion, takeover
from pipeline.training.challenge import Challenge
from pipeline.training.promotion import Evidence, judge
from pipeline.training.registration import register
from pipeline.training.rehearsal import Rehearsal
from pipeline.training.takeover import PromotionError
from tests.pipeline.small_training import AS_OF, fill, some_evaluation
from tests.pipeline.training.test_promotion import AHEAD, LEVEL, LIMITS, evidence

SOUND = judge(evidence(AHEAD), LIMITS)
BAD = judge(evidence(LEVEL), LIMITS)
FOUND = evidence(AHEAD).challenge


@pytest.fixture(scope="module")
def registered(
    _trained: Path, prepared: Path, dataset: DatasetConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A home with three versions of one bundle, the third of which is the challenger; nothing is judged."""
    root = tmp_path_factory.mktemp("registered") / "home"
    shutil.copytree(prepared, root)
    Home(root).prepare()
    server = tracking_of(root)
    work = fill(root.parent / "training").workspace
    for name in ("bundle", "trees"):
        shutil.copytree(_trained / name, work.folder / name)
    some_evaluation(churn="ahead", ltv="behind").save(work.evaluation)
    register(work, server, server.start_run("training 1", {}), dataset, AS_OF)
    first = server.client.get_model_version("ple", "1")
    for number in "23":  # logging a model takes seconds, another version of the same one does not
        run = server.start_run(f"training {number}", {})
        server.client.create_model_version("ple", first.source, run, tags=first.tags)
        takeover.write_card(server, server.version(number))
    server.set_alias(CHALLENGER, "3")
    return root


def tracking_of(root: Path) -> Tracking:
    home = Home(root)
    return Tracking(uri=home.tracking_uri, artifacts=str(home.mlflow / "artifacts"), dataset="completejourney")


@pytest.fixture
def home(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(registered, tmp_path / "home")
    Home(tmp_path / "home").prepare()
    _artifact_repos_cache.clear()  # MLflow remembers the folders of the home that this one is a copy of
    for name in ("DATASET", "DATASET_FILE", "DATA_DIR", "CUSTOMERS", "AS_OF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server(home: Path) -> Tracking:
    return tracking_of(home)


def settle(server: Tracking, number: str, judgement: promotion.Judgement = SOUND, held: bool = False) -> str:
    return takeover.settle(server, server.version(number), judgement, FOUND, held).status


def champion(server: Tracking) -> RegisteredVersion:
    found = server.champion()
    assert found is not None
    return found


def test_a_registered_version_is_described_and_its_logged_model_knows_it(server: Tracking) -> None:
    import mlflow

    version = server.client.get_model_version("ple", "3")
    assert 0 < len(version.description) <= TAG_LENGTH
    for words in ("simulated", "not judged yet", "| churn | AUC ↑ |", "▲ ahead of", "Behind constant on ltv", "Limits"):
        assert words.lower() in version.description.lower(), version.description
    run = server.client.get_run(version.run_id)
    assert 0 < len(run.data.tags[NOTE]) <= RUN_NOTE_LENGTH
    assert run.data.tags[NOTE].startswith("# Version 3")
    assert [artifact.path for artifact in server.client.list_artifacts(version.run_id)] == ["card.json", "card.md"]
    page = server.run_json(version.run_id, "card.json")
    assert [section["heading"] for section in page["sections"]][:2] == ["Promotion", "How good"]
    assert server.run_json(version.run_id, "no.json") is None
    models = server.client.search_logged_models([server.experiment_id])
    [model] = [m for m in models if json.loads(m.tags["mlflow.modelVersions"])[0]["version"] == "1"]
    assert {metric.key for metric in model.metrics} >= {"_headline/churn AUC"}
    described = server.client.get_registered_model("ple").description
    assert "`champion` scores the nights" in described
    experiment = mlflow.MlflowClient(server.uri).get_experiment(server.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "_headline/" in experiment.tags[NOTE]


def test_links_lead_to_the_classic_pages_of_this_mlflow(server: Tracking) -> None:
    import mlflow

    assert server.run_url("r").endswith(f"/#/experiments/{server.experiment_id}/runs/r?workflowType=machine_learning")
    assert server.version_url("3").startswith("http://127.0.0.1:5000/#/models/ple/versions/3?")
    scripts = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    text = "".join(file.read_text() for file in scripts.glob("*.js"))
    for word in (
        *('"machine_learning"', "workflowType", "custom_model_development", "mlflow.experimentKind"),
        *("/experiments/:experimentId/runs/:runUuid", "models/:modelName/versions/:version"),
    ):
        assert word in text, f"this version of MLflow has no {word}"


def test_a_judgement_becomes_alias_tags_and_card(server: Tracking) -> None:
    assert server.champion() is None
    assert settle(server, "1") == PROMOTED
    assert champion(server).version == "1"
    assert champion(server).replaced == ""
    assert settle(server, "2") == PROMOTED
    assert (champion(server).version, champion(server).replaced) == ("2", "1")
    assert settle(server, "3", BAD) == REFUSED
    assert champion(server).version == "2"
    challenger = server.challenger()
    assert challenger is not None
    assert (challenger.version, challenger.status) == ("3", REFUSED)
    version = server.client.get_model_version("ple", "3")
    assert version.tags["promotion"] == REFUSED
    assert "a reason to change" not in version.tags["promotion.reason"]
    assert "better than the champion on no task" in version.tags["promotion.reason"]
    assert "Refused by the rules on" in version.description
    tags = server.client.get_run(version.run_id).data.tags
    assert tags["promotion"] == REFUSED
    assert server.run_json(version.run_id, takeover.JUDGEMENT) == BAD.to_dict()
    card = server.run_json(server.client.get_model_version("ple", "2").run_id, "card.json")
    sections = {section["heading"]: section for section in card["sections"]}
    assert "It replaced version 1." in sections["Promotion"]["text"]
    assert {row["outcome"] for row in sections["Promotion"]["table"]} == {"passed"}
    assert sections["Beside the champion and boosted trees"]["table"]


def test_no_tag_is_empty(server: Tracking) -> None:
    settle(server, "1")
    settle(server, "2")
    takeover.roll_back(server, "the call centre complained")
    takeover.promote(server, "2", "it was another cause")
    takeover.roll_back(server, "")
    for number in ("1", "2"):
        version = server.client.get_model_version("ple", number)
        tags = [version.tags, server.client.get_run(version.run_id).data.tags]
        assert [key for found in tags for key, value in found.items() if not value] == []
        assert ["replaced" in found for found in tags] == [number == "2"] * 2
        assert ["promotion.because" in found for found in tags] == [False] * 2, "nobody said why this time"


def test_saying_it_again_changes_nothing(server: Tracking) -> None:
    settle(server, "1")
    for _ in range(2):
        assert settle(server, "2") == PROMOTED
        assert (champion(server).version, champion(server).replaced) == ("2", "1")
    opponent = takeover.opponent(server, "2")
    assert opponent is not None
    assert opponent.version == "1", "a champion is not compared with itself"
    assert takeover.opponent(server, "1") == champion(server)


@pytest.mark.parametrize("dies", ["set_alias", "log_text"])
def test_a_decision_that_was_killed_is_made_by_saying_it_again(
    dies: str, server: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        """The process was killed here."""

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    settle(server, "1")
    settle(server, "2")
    for act, now in ((lambda: settle(server, "3"), "3"), (lambda: takeover.roll_back(server, ""), "2")):
        with monkeypatch.context() as patch:
            patch.setattr(Tracking, dies, kill)
            with pytest.raises(Killed):
                act()
        if now == "3" or dies == "set_alias":
            act()
        assert champion(server).version == now
    assert server.version("3").status == ROLLED_BACK
    assert champion(server).replaced == "1"


def test_held_for_a_person(server: Tracking) -> None:
    settle(server, "1")
    assert settle(server, "2", held=True) == HELD
    assert champion(server).version == "1"
    decided = takeover.promote(server, "2", "")
    assert (decided.before, decided.after, decided.by) == ("1", "2", "a person")
    assert (champion(server).version, champion(server).replaced) == ("2", "1")
    with pytest.raises(PromotionError, match="is the champion already"):
        takeover.promote(server, "2", "")


def test_what_was_rolled_back_stays_so_until_a_person_says_otherwise(server: Tracking) -> None:
    settle(server, "1")
    settle(server, "2")
    decided = takeover.roll_back(server, "the call centre complained")
    assert (decided.before, decided.after) == ("2", "1")
    assert champion(server).version == "1"
    assert "the call centre complained" in server.client.get_model_version("ple", "2").description
    made = replace(evidence(AHEAD), rolled_back=server.version("2").status == ROLLED_BACK)
    assert settle(server, "2", judge(made, LIMITS)) == ROLLED_BACK
    assert champion(server).version == "1"
    with pytest.raises(PromotionError, match="call centre"):
        takeover.promote(server, "2", "")
    takeover.promote(server, "2", "it was the telephone")
    assert champion(server).version == "2"


# --- the commands, which run the jobs ------------------------------------------------------------------------------


def ple(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_promote_and_rollback_by_command_are_noted_in_dagster(home: Path, server: Tracking) -> None:
    settle(server, "1")
    settle(server, "3", BAD)
    refused = ple("promote")
    assert refused.exit_code == 1
    assert "version 3 was refused (better than the champion on no task" in refused.output
    assert "--because" in refused.output
    done = ple("promote", "--because", "a trial of ours")
    assert done.exit_code == 0, done.output
    assert "the champion is version 3, trained as of 2017-10-01" in done.output
    done = ple("rollback", "--because", "the trial is over")
    assert done.exit_code == 0, done.output
    assert champion(server).version == "1"
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        records = instance.fetch_materializations(dg.AssetKey(["training", "champion"]), limit=5).records
        shown = [record.asset_materialization for record in records]
        jobs = [run.job_name for run in instance.get_runs()]
    assert jobs == ["rollback", "promote", "promote"]
    back, over = (found.metadata for found in shown if found is not None)
    assert (back["version"].value, over["version"].value) == ("1", "3")
    assert (over["decision"].value, over["why"].value) == (PROMOTED, "a trial of ours")
    assert "champion before" in str(over["facts"].value)
    assert {record.partition_key for record in records} == {"2017-10-01"}


Spoil = Callable[[Tracking], None]


def nothing(_: Tracking) -> None:
    """A home without a champion."""


def a_first_champion(server: Tracking) -> None:
    settle(server, "1")


def an_altered_bundle(server: Tracking) -> None:
    (server.version("2").folder / "calibration.json").write_text("{}")


def an_altered_predecessor(server: Tracking) -> None:
    settle(server, "1")
    settle(server, "2")
    (server.version("1").folder / "calibration.json").write_text("{}")


def a_lost_predecessor(server: Tracking) -> None:
    settle(server, "1")
    settle(server, "2")
    server.client.delete_model_version("ple", "1")


def a_challenger_that_is_the_champion(server: Tracking) -> None:
    settle(server, "3")


def lost_files(server: Tracking) -> None:
    shutil.rmtree(server.version("2").folder.parents[1])


def a_strangers_version(server: Tracking) -> None:
    server.client.delete_model_version_tag("ple", "2", "as_of")


def another_data_set(server: Tracking) -> None:
    server.client.set_model_version_tag("ple", "2", "dataset", "shop")


@pytest.mark.parametrize(
    ("spoil", "act", "words"),
    [
        (nothing, ("99", ""), "no version 99"),
        (nothing, ("x", ""), "no version x"),
        (nothing, ("3", ""), "never judged"),
        (nothing, None, "no champion to roll back"),
        (a_challenger_that_is_the_champion, ("", ""), "no challenger"),
        (a_challenger_that_is_the_champion, ("3", ""), "the champion already"),
        (a_first_champion, None, "replaced no other"),
        (an_altered_bundle, ("2", "x"), "was altered: calibration.json"),
        (an_altered_predecessor, None, "was altered: calibration.json"),
        (a_lost_predecessor, None, "gone from MLflow"),
        (lost_files, ("2", "x"), "are gone"),
        (a_strangers_version, ("2", "x"), "no tag 'as_of'"),
        (another_data_set, ("2", "x"), "data set 'shop'"),
    ],
)
def test_what_cannot_be_says_why_and_changes_nothing(
    spoil: Spoil, act: tuple[str, str] | None, words: str, server: Tracking
) -> None:
    """Promotions of a number for a reason, and rollbacks."""
    spoil(server)
    before = server.client.get_registered_model("ple").aliases
    with pytest.raises(PromotionError, match=words):
        takeover.roll_back(server, "") if act is None else takeover.promote(server, *act)
    assert server.client.get_registered_model("ple").aliases == before


def test_evidence_without_a_champion(server: Tracking) -> None:
    alone = Evidence(some_evaluation(churn="ahead"), Challenge(), Rehearsal(1, 1, [], {}, "", 0.0), ())
    assert settle(server, "1", judge(alone, LIMITS)) == PROMOTED
    assert STATUS in server.version_tags("1")


def test_a_version_without_its_files_is_named_and_only_a_champion_is_missed(
    server: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    settle(server, "1")
    shutil.rmtree(champion(server).folder.parents[1])
    assert server.challenger() is None
    assert "version 3 are gone" in caplog.text
    with pytest.raises(FileNotFoundError, match="version 1 are gone"):
        server.champion()


def test_a_champion_without_its_files_can_be_replaced(server: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(server, "1")

    def lost(_: Tracking) -> None:
        raise FileNotFoundError("the files of version 1 are gone from MLflow")

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "champion", lost)
        assert takeover.promote(server, "2", "the disk of the first is lost").before == "1"
    assert champion(server).version == "2"
