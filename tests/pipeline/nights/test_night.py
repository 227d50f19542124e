"""One night with toy jobs: training first where it is due, and never at the cost of the scores."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import dagster as dg
import polars as pl

from pipeline.home.folder import Home
from pipeline.nights.night import Outcome, run_night
from pipeline.resources.publication import Published
from pipeline.resources.tracking import HELD, RegisteredVersion, Tracking
from pipeline.runs.in_process import one_at_a_time, training_failure
from pipeline.runs.signs import clear_dead_runs

DAY = date(2018, 1, 1)
PARTITIONS = dg.StaticPartitionsDefinition([DAY.isoformat()])


class Registry:
    """Stands in for MLflow: the champion's training date lies in a file."""

    uri = "sqlite:///elsewhere"

    def __init__(self, file: Path) -> None:
        self.file = file

    def champion(self) -> RegisteredVersion | None:
        if not self.file.exists():
            return None
        return RegisteredVersion("1", "r", date.fromisoformat(self.file.read_text()), "s", "toy", Path())

    def numbers(self) -> list[str]:
        return ["1"] if self.file.exists() else []

    def challenger(self) -> RegisteredVersion | None:
        """One that waits for a person, where there is a file that says so."""
        waits = self.file.with_name("waits").exists()
        return RegisteredVersion("2", "r", DAY, "s", "toy", Path(), HELD) if waits else None


def toy(folder: Path, train: Callable[[], None], score: Callable[[], None] = lambda: None) -> dg.Definitions:
    """Two jobs that note in a file when they run."""

    def note(text: str) -> None:
        with (folder / "ran").open("a") as file:
            file.write(text + "\n")

    @dg.asset(partitions_def=PARTITIONS)
    def champion() -> None:
        note("training")
        train()

    @dg.asset(partitions_def=PARTITIONS, deps=[champion])
    def scores() -> None:
        note("nightly")
        score()

    def job(name: str, asset: dg.AssetsDefinition) -> object:
        return dg.define_asset_job(
            name, selection=[asset], partitions_def=PARTITIONS, executor_def=dg.in_process_executor
        )

    return dg.Definitions(assets=[champion, scores], jobs=[job("training", champion), job("nightly", scores)])


def fails() -> None:
    raise dg.Failure("no label is usable", allow_retries=False)


def ran(folder: Path) -> list[str]:
    file = folder / "ran"
    return file.read_text().split() if file.exists() else []


def night(folder: Path, definitions: dg.Definitions, instance: dg.DagsterInstance) -> tuple[Outcome, str]:
    said: list[str] = []
    tracking = cast("Tracking", Registry(folder / "champion"))
    with one_at_a_time(Home(folder)) as held:
        return run_night(held, definitions, instance, tracking, DAY, 7, said.append), "\n".join(said)


def test_a_due_training_runs_before_the_night(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    promote = toy(tmp_path, lambda: (tmp_path / "champion").write_text("2018-01-01") and None)
    outcome, said = night(tmp_path, promote, instance)
    assert outcome == Outcome(True)
    assert ran(tmp_path) == ["training", "nightly"]
    assert "there is no champion yet" in said
    outcome, said = night(tmp_path, promote, instance)
    assert outcome == Outcome(True)
    assert ran(tmp_path) == ["training", "nightly", "nightly"], "the second night only scores"
    assert "scoring only" in said
    assert [run.job_name for run in instance.get_runs()] == ["nightly", "nightly", "training"]
    assert training_failure(instance, DAY.isoformat()) == ""


def test_a_training_that_fails_does_not_cost_the_night(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "champion").write_text("2017-10-01")
    outcome, said = night(tmp_path, toy(tmp_path, fails), instance)
    assert outcome.published
    assert outcome.training_failure == "champion: no label is usable"
    assert ran(tmp_path) == ["training", "nightly"]
    assert "the training failed; version 1, trained as of 2017-10-01 goes on scoring" in said
    assert training_failure(instance, DAY.isoformat()) == outcome.training_failure


def test_a_version_that_waits_for_a_person_does_not_cost_the_night(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (tmp_path / "champion").write_text("2017-10-01")
    (tmp_path / "waits").touch()
    outcome, said = night(tmp_path, toy(tmp_path, fails), instance)
    assert outcome == Outcome(True)
    assert ran(tmp_path) == ["nightly"], "it stands for the training that would be due"
    assert "ple promote 2" in said


def test_without_any_champion_the_night_asks_for_the_person(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "waits").touch()
    outcome, _ = night(tmp_path, toy(tmp_path, fails), instance)
    assert not outcome.published
    assert "there is no champion: version 2, trained as of 2018-01-01, is held for a person" in outcome.failure
    assert ran(tmp_path) == []


def test_without_any_champion_a_failed_training_ends_the_night(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    outcome, _ = night(tmp_path, toy(tmp_path, fails), instance)
    assert outcome == Outcome(False, "champion: no label is usable")
    assert ran(tmp_path) == ["training"]


def test_a_night_that_fails_says_why(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "champion").write_text("2018-01-01")
    outcome, _ = night(tmp_path, toy(tmp_path, fails, fails), instance)
    assert outcome == Outcome(False, "", "scores: no label is usable")


def test_a_date_whose_future_the_champion_knows_never_trains(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "champion").write_text("2018-02-01")
    outcome, said = night(tmp_path, toy(tmp_path, fails), instance)
    assert outcome.published
    assert ran(tmp_path) == ["nightly"]
    assert "hindsight" in said


def _killed_between_the_jobs(folder: str) -> None:
    """A night that trains and dies at the first step of the second job."""
    home = Path(folder)
    definitions = toy(
        home,
        lambda: (home / "champion").write_text("2018-01-01") and None,
        lambda: os.kill(os.getpid(), signal.SIGKILL),
    )
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        night(home, definitions, instance)


def test_killed_between_the_jobs_the_next_night_goes_on_with_the_second(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    process = get_context("fork").Process(target=_killed_between_the_jobs, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert ran(tmp_path) == ["training", "nightly"]
    assert len(clear_dead_runs(instance, Home(tmp_path))) == 1
    outcome, said = night(tmp_path, toy(tmp_path, fails), instance)
    assert outcome == Outcome(True)
    assert ran(tmp_path) == ["training", "nightly", "nightly"]
    assert "scoring only" in said


def test_a_home_whose_registry_is_lost_trains_nothing_by_itself(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    scores = pl.DataFrame({"customer_id": ["a"], "model_version": ["7"]})
    Published(Home(tmp_path).lake, "scores").publish(scores, "2017-12-31")
    outcome, _ = night(tmp_path, toy(tmp_path, lambda: None), instance)
    assert not outcome.published
    assert "restore the folder mlflow/" in outcome.failure
    assert ran(tmp_path) == []
