"""One run at a time, whoever starts it; the second one says who holds the home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget

from pipeline.home.folder import Home
from pipeline.home.locks import is_held
from pipeline.runs.executor import MADE_TAG
from pipeline.runs.in_process import PARTITION_TAG, HomeIsBusy, night_lock, one_at_a_time, run_job
from pipeline.runs.signs import give_sign
from pipeline.settings import WORKSPACE
from tests.pipeline import toy_nights
from tests.pipeline.home.test_locks import held_elsewhere

DAY = toy_nights.FIRST + timedelta(days=3)


def launched(home: Path, instance: dg.DagsterInstance, job: str = "nightly", day: date = DAY) -> dg.ExecuteJobResult:
    """A run as the process that a daemon launches executes it: by the job's own executor."""
    made = dg.build_reconstructable_job("tests.pipeline.toy_nights", "job", (job, str(home)))
    return dg.execute_job(made, instance, tags={PARTITION_TAG: day.isoformat()}, raise_on_error=False)


def said(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.message for entry in instance.all_logs(run_id))


def test_a_home_that_is_in_use_is_refused_and_the_user_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with held_elsewhere(home.locks / "night") as process:
        with pytest.raises(HomeIsBusy, match=f"{tmp_path}.*a long night.*process {process.pid}"), one_at_a_time(home):
            pass
        process.kill()
        process.wait()
        with one_at_a_time(home):
            pass


def test_a_run_of_a_command_holds_the_lock_under_its_own_name(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with one_at_a_time(Home(tmp_path)) as held:
        result = run_job(held, toy_nights.build(tmp_path), instance, "nightly", DAY)
        holder = held.lock.holder()
    assert result.success
    assert holder is not None
    assert (holder.what, holder.run_id) == (f"nightly of {DAY}", result.run_id)
    assert list((Home(tmp_path).locks / "runs").iterdir()) == []


def test_a_run_of_a_command_bears_the_origin_by_which_the_ui_finds_it(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with one_at_a_time(Home(tmp_path)) as held:
        result = run_job(held, toy_nights.build(tmp_path), instance, "nightly", DAY)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[PARTITION_TAG] == DAY.isoformat()
    workspace = WorkspaceFileTarget(paths=[str(WORKSPACE)])
    (location,) = workspace.create_origins()  # what Dagster's servers load
    assert run.remote_job_origin == RemoteRepositoryOrigin(location, "__repository__").get_job_origin("nightly")
    of_the_location = dg.RunsFilter(tags={".dagster/repository": "__repository__@ple"})
    assert [found.run_id for found in instance.get_runs(of_the_location)] == [run.run_id]


def alone(home: str) -> None:
    """A launched run in a process of its own."""
    with dg.DagsterInstance.from_config(str(Path(home) / "dagster")) as instance:
        assert launched(Path(home), instance).success


def test_a_launched_run_waits_says_for_whom_and_then_holds_the_home(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    home = Home(tmp_path)
    (tmp_path / "gate").touch()
    with held_elsewhere(home.locks / "night") as holder:
        code = f"from tests.pipeline.runs.test_runs import *; alone('{tmp_path}')"
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            words = f"waits for the home: a long night (run 12345678, process {holder.pid}"
            while not ((runs := instance.get_runs()) and words in said(instance, runs[0].run_id)):
                assert process.poll() is None
                time.sleep(0.05)
            assert toy_nights.ran(tmp_path) == []
            holder.kill()
            while not toy_nights.ran(tmp_path):
                assert process.poll() is None
                time.sleep(0.05)
            words = rf"nightly of {DAY} \(run {runs[0].run_id[:8]}, process {process.pid}"
            with pytest.raises(HomeIsBusy, match=words), one_at_a_time(home):
                pass
            assert is_held(home.locks / "runs" / runs[0].run_id)
            (tmp_path / "gate").unlink()
            assert process.wait(timeout=120) == 0
            assert not is_held(home.locks / "runs" / runs[0].run_id)
        finally:
            process.kill()
            process.wait()
    assert toy_nights.ran(tmp_path) == [f"begins nightly {DAY}", f"ends nightly {DAY}"]


def asked_before(
    instance: dg.DagsterInstance, made: dg.ExecuteJobResult, monkeypatch: pytest.MonkeyPatch, home: Path, **other: str
) -> dg.ExecuteJobResult:
    """A launched run that was asked for before another one ended, and gets the home after it."""
    record = instance.get_run_record_by_id(made.run_id)
    assert record is not None
    assert record.end_time is not None
    asked = record.create_timestamp
    known = instance.get_run_record_by_id

    def earlier(run_id: str) -> object:
        found = known(run_id)
        return found if found is None or run_id == made.run_id else found._replace(create_timestamp=asked)

    monkeypatch.setattr(instance, "get_run_record_by_id", earlier)
    return launched(home, instance, **other)


def test_a_night_that_was_made_while_a_run_waited_is_not_made_again(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = launched(tmp_path, instance)
    second = asked_before(instance, first, monkeypatch, tmp_path)
    assert second.success
    assert f"nothing is left to do: run {first.run_id[:8]} made the nightly of {DAY}" in said(instance, second.run_id)
    run = instance.get_run_by_id(second.run_id)
    assert run is not None
    assert run.tags[MADE_TAG] == first.run_id
    assert len(toy_nights.ran(tmp_path)) == 2
    monkeypatch.undo()
    assert launched(tmp_path, instance).success
    assert len(toy_nights.ran(tmp_path)) == 4, "a run that is asked for later does its work"


def test_a_run_that_was_given_up_does_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for dead while its process was still on its way."""

    def given_up(home: Home, run_id: str) -> object:
        sign = give_sign(home, run_id)
        instance.report_run_failed(instance.get_run_by_id(run_id))
        return sign

    monkeypatch.setattr("pipeline.runs.executor.give_sign", given_up)
    result = launched(tmp_path, instance)
    assert not result.success
    assert "given up before it began" in "".join(str(entry.dagster_event) for entry in instance.all_logs(result.run_id))
    assert toy_nights.ran(tmp_path) == []
    assert not is_held(night_lock(Home(tmp_path)).file)


def test_of_two_that_start_one_night_at_once_one_works_and_one_says_so(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """A command, and a run that a daemon launches; whichever is first."""
    (tmp_path / "champion").write_text(DAY.isoformat())
    (tmp_path / "gate").touch()
    run = instance.create_run_for_job(
        toy_nights.job("nightly", str(tmp_path)),
        tags={PARTITION_TAG: DAY.isoformat()},
        status=DagsterRunStatus.NOT_STARTED,
    )
    code = f"from tests.pipeline.runs.test_runs import *; worker('{tmp_path}', '{run.run_id}')"
    environment = {**os.environ, "PLE_HOME": str(tmp_path)}
    both = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        for words in (
            [sys.executable, "-m", "tests.pipeline.toy_nights", DAY.isoformat()],
            [sys.executable, "-c", code],
        )
    ]
    command, launched_run = both
    try:
        while command.poll() is None and "waits for the home" not in said(instance, run.run_id):
            assert launched_run.poll() is None
            time.sleep(0.05)
        (tmp_path / "gate").unlink()
        printed = command.communicate(timeout=300)[0]
        assert launched_run.wait(timeout=300) == 0
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert toy_nights.ran(tmp_path) == [f"begins nightly {DAY}", f"ends nightly {DAY}"]
    if command.returncode == 0:
        assert re.search(rf"waits for the home: (toy )?nightly of {DAY} \(", said(instance, run.run_id))
        assert "nothing is left to do: run" in said(instance, run.run_id)
    else:
        assert command.returncode == 3
        assert f"nightly of {DAY} (run {run.run_id[:8]}, process {launched_run.pid}" in printed


def worker(home: str, run_id: str) -> None:
    """What the process of a launched run does."""
    from dagster._core.execution.api import execute_run

    made = dg.build_reconstructable_job("tests.pipeline.toy_nights", "job", ("nightly", home))
    with dg.DagsterInstance.from_config(str(Path(home) / "dagster")) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        execute_run(made, run, instance)


def test_a_waiting_run_lets_the_one_before_write_its_end(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets go of the home just before its end is written."""
    made = toy_nights.job("nightly", str(tmp_path))
    first = instance.create_run_for_job(
        made, tags={PARTITION_TAG: DAY.isoformat()}, status=DagsterRunStatus.STARTED
    ).run_id
    looks: list[bool] = []

    def ends(*_: object) -> bool:
        looks.append(is_held(night_lock(Home(tmp_path)).file))
        if len(looks) == 3:
            instance.report_run_canceled(instance.get_run_by_id(first))
        return len(looks) > 3

    monkeypatch.setattr("pipeline.runs.executor.is_dead_or_finished", ends)
    with night_lock(Home(tmp_path)) as lock:
        assert lock.acquire("the first", first)
    assert launched(tmp_path, instance).success
    assert looks == [True] * 4
    assert len(toy_nights.ran(tmp_path)) == 2
