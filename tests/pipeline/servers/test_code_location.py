"""The code location as a process of its own: where the daemon and the pages look for it, and that it executes runs."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from pydantic import ValidationError

from pipeline.definitions import build_definitions
from pipeline.home.folder import Home
from pipeline.runs.in_process import failure_message
from pipeline.servers import code_location
from pipeline.servers.interfaces import free_port, server_environment
from pipeline.servers.webserver import HOST
from pipeline.settings import REPOSITORY, WORKSPACE, Settings

STARTS = 300.0
"""Seconds in which the process answers."""


def prepared(tmp_path: Path, address: str | None) -> tuple[Home, Settings]:
    home = Home(tmp_path)
    home.dagster.mkdir(parents=True, exist_ok=True)
    return home, Settings(home=tmp_path, code_location=address)


def test_without_the_setting_each_server_starts_its_own(tmp_path: Path) -> None:
    home, settings = prepared(tmp_path, None)
    assert code_location.workspace(home, settings) == WORKSPACE
    assert list(home.dagster.iterdir()) == []


@pytest.mark.parametrize("address", ["", "host", "host:", "host:0", ":4266", "http://host:4266", "host:port", "a b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match=r"is no address, such as 127\.0\.0\.1:4266"):
        Settings(home=Path(), code_location=address)


@pytest.mark.trial
def test_the_process_shows_the_jobs_and_executes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_location, "PORT", free_port(code_location.PORT))
    home, settings = prepared(tmp_path, f"{HOST}:{code_location.PORT}")
    with (
        serving(home, settings),
        DagsterInstance.local_temp(str(home.dagster)) as instance,
        WorkspaceProcessContext(
            instance, WorkspaceFileTarget([str(code_location.workspace(home, settings))])
        ) as context,
    ):
        asked = context.create_request_context()
        [repository] = asked.get_code_location("ple").get_repositories().values()
        assert {"nightly", "training"} <= {job.name for job in repository.get_all_jobs()}
        remote = repository.get_full_job("rollback")
        run = instance.create_run_for_job(
            build_definitions(settings).resolve_job_def("rollback"),
            remote_job_origin=remote.get_remote_origin(),
            job_code_origin=remote.get_python_origin(),
        )
        instance.launch_run(run.run_id, asked)
        until = time.monotonic() + STARTS
        while not (now := instance.get_run_by_id(run.run_id)) or not now.is_finished:
            assert time.monotonic() < until
            time.sleep(0.2)
        why = failure_message(instance, run.run_id)
    assert now.status is DagsterRunStatus.FAILURE
    assert "champion" in why


@contextmanager
def serving(home: Home, settings: Settings) -> Iterator[None]:
    """The process, once it answers."""
    environment = server_environment(home, settings) | {"OMP_NUM_THREADS": "1"}
    file = home.root / "log"
    with file.open("wb") as log:
        process = subprocess.Popen(
            code_location.server(HOST), env=environment, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + STARTS
        while not answers(HOST, code_location.PORT):
            assert process.poll() is None, file.read_text()[-3_000:]
            assert time.monotonic() < until, file.read_text()[-3_000:]
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
