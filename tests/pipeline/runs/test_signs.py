"""Runs whose process is gone are failed with a reason, and only those."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from pipeline.home.folder import Home
from pipeline.runs import signs
from pipeline.runs.queue import queue_of
from pipeline.runs.signs import DEAD_TAG, SERVER_TAG, clear_dead_runs, give_sign, sign_of_life
from tests.pipeline.home.test_locks import held_elsewhere

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ple"), "__repository__"), "job")
"""Where a run in the queue says it comes from."""


@dg.op(pool="gpu")
def train() -> None: ...


@dg.job
def job() -> None:
    train()


def run_of(instance: dg.DagsterInstance, status: Status, **tags: str) -> str:
    return instance.create_run_for_job(job, status=status, tags=tags, remote_job_origin=ORIGIN).run_id


def status(instance: dg.DagsterInstance, run_id: str) -> Status:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def killed(home: Home, run_id: str) -> None:
    """The sign that a killed process leaves."""
    with held_elsewhere(home.locks / "runs" / run_id):
        pass


def test_a_run_whose_process_is_gone_is_failed_and_gives_its_place_back(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    dead, alive = run_of(instance, Status.STARTED), run_of(instance, Status.STARTED)
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("gpu")
    assert storage.claim_concurrency_slot("gpu", dead, "train").is_claimed
    assert not storage.claim_concurrency_slot("gpu", alive, "train").is_claimed
    killed(home, dead)
    with held_elsewhere(home.locks / "runs" / alive):
        assert queue_of(instance, home).dead == (dead,)
        assert "is gone" in queue_of(instance, home).problems()[0]
        assert clear_dead_runs(instance, home) == [dead]
        assert (status(instance, dead), status(instance, alive)) == (Status.FAILURE, Status.STARTED)
        assert storage.claim_concurrency_slot("gpu", alive, "train").is_claimed
        said = [entry.message for entry in instance.all_logs(dead, of_type=dg.DagsterEventType.RUN_FAILURE)]
        assert "The process of this run is gone" in said[0]
        run = instance.get_run_by_id(dead)
        assert run is not None
        assert run.tags[DEAD_TAG] == "true"
        assert [file.name for file in (home.locks / "runs").iterdir()] == [alive]
        queue = queue_of(instance, home)
        assert (queue.running, queue.dead, queue.problems()) == ((alive,), (), [])


@pytest.mark.parametrize("state", [Status.NOT_STARTED, Status.STARTING, Status.STARTED, Status.CANCELING])
def test_a_sign_that_nobody_holds_ends_a_run_in_any_state(
    state: Status, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = run_of(instance, state)
    assert clear_dead_runs(instance, Home(tmp_path)) == [], "without a sign it may only just have begun"
    killed(Home(tmp_path), run)
    assert clear_dead_runs(instance, Home(tmp_path)) == [run]
    assert status(instance, run) == (Status.CANCELED if state is Status.CANCELING else Status.FAILURE)
    ended = instance.get_run_by_id(run)
    assert ended is not None
    assert (DEAD_TAG in ended.tags) == (state is not Status.CANCELING), "what somebody cancelled is not tried again"


def test_a_run_that_never_gave_a_sign_is_dead_after_a_while(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, asked = run_of(instance, Status.STARTED), run_of(instance, Status.NOT_STARTED)
    queued = run_of(instance, Status.QUEUED)
    assert clear_dead_runs(instance, Home(tmp_path)) == []
    monkeypatch.setattr(signs, "SECONDS_TO_SIGN", -1.0)
    monkeypatch.setattr(signs, "SECONDS_TO_QUEUE", -1.0)
    assert set(clear_dead_runs(instance, Home(tmp_path))) == {started, asked}
    assert status(instance, queued) is Status.QUEUED


def test_a_run_that_was_being_launched_by_a_server_that_is_gone_is_dead(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with TemporaryDirectory(dir="/tmp") as short:  # an address of a socket has at most 107 bytes
        address = f"{short}/s"
        run = run_of(instance, Status.STARTING, **{SERVER_TAG: json.dumps({"host": "localhost", "socket": address})})
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen()
            assert clear_dead_runs(instance, Home(tmp_path)) == []
        assert clear_dead_runs(instance, Home(tmp_path)) == [run]


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process writes the end, then goes: the sign is looked at after the status was read."""
    home = Home(tmp_path)
    run = run_of(instance, Status.STARTED)
    killed(home, run)

    def ends(*_: object) -> bool:
        instance.report_run_canceled(instance.get_run_by_id(run))  # stands for any end
        return True

    monkeypatch.setattr(signs, "is_dead", ends)
    assert clear_dead_runs(instance, home) == []
    assert status(instance, run) is Status.CANCELED


def test_a_sign_appears_held_and_goes_with_the_block(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with sign_of_life(home, "run"):
        assert [file.name for file in (home.locks / "runs").iterdir()] == ["run"]
        assert signs.is_held(home.locks / "runs" / "run")
    assert list((home.locks / "runs").iterdir()) == []
    lock = give_sign(home, "other")
    assert signs.is_held(home.locks / "runs" / "other")
    lock.release()


def test_a_queue_that_no_daemon_serves_says_so(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert queue_of(instance, Home(tmp_path)).problems() == []
    run_of(instance, Status.QUEUED)
    assert "no daemon takes them" in queue_of(instance, Home(tmp_path)).problems()[0]
