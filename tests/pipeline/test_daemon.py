"""A real daemon with nights of toys: downtime, a kill, and a command beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from pipeline.home.folder import Home
from pipeline.runs.queue import queue_of
from tests.pipeline import toy_nights
from tests.pipeline.daemon import Daemon

pytestmark = pytest.mark.trial


@pytest.fixture
def daemon(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Daemon]:
    """A daemon of toys that is not started yet; all its automation is on."""
    assert instance.root_directory == str(tmp_path / "dagster")
    with Daemon(tmp_path, ["-m", "tests.pipeline.toy_nights"], {}) as daemon:
        daemon.dagster("schedule", "start", "--start-all")
        daemon.dagster("sensor", "start", "--start-all")
        yield daemon


def missed() -> list[str]:
    """The as-of dates that the schedules look at today."""
    today = datetime.now(UTC).date()
    return [(today - timedelta(days=back)).isoformat() for back in reversed(range(toy_nights.CATCH_UP))]


def begun(home: Path) -> list[str]:
    return [line.removeprefix("begins ") for line in toy_nights.ran(home) if line.startswith("begins")]


def test_three_nights_without_a_daemon_then_a_kill_in_the_second(
    tmp_path: Path, daemon: Daemon, instance: dg.DagsterInstance
) -> None:
    days = missed()
    daemon.start()
    daemon.until(lambda: f"ends nightly {days[0]}" in toy_nights.ran(tmp_path))
    (tmp_path / "gate").touch()  # the second or the third night is in its step
    daemon.until(lambda: len(begun(tmp_path)) > len(toy_nights.ran(tmp_path)) // 2)
    asked = instance.get_runs_count()
    time.sleep(70)  # a tick, and the sensors
    assert instance.get_runs_count() == asked, "nothing is asked for twice"
    at = begun(tmp_path)[-1]
    daemon.kill()
    (tmp_path / "gate").unlink()
    assert len(queue_of(instance, Home(tmp_path)).dead) == 1
    daemon.start()
    daemon.until(lambda: all(f"ends nightly {day}" in toy_nights.ran(tmp_path) for day in days))
    time.sleep(70)
    order = [f"training {days[0]}", *(f"nightly {day}" for day in days)]
    order.insert(order.index(at), at)
    assert begun(tmp_path) == order, "oldest first, each once, the killed one again"
    failed = instance.get_run_records(dg.RunsFilter(statuses=[DagsterRunStatus.FAILURE]))
    assert len(failed) == 1
    queue = queue_of(instance, Home(tmp_path))
    assert (queue.running, queue.dead, queue.waiting, queue.problems()) == ((), (), 0, [])


def test_a_command_beside_the_daemon_works_and_the_run_says_so(
    tmp_path: Path, daemon: Daemon, instance: dg.DagsterInstance
) -> None:
    day = missed()[-1]
    (tmp_path / "champion").write_text(day)
    for earlier in missed()[:-1]:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key="scores", partition=earlier))
    (tmp_path / "gate").touch()
    command = subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.toy_nights", day], env=os.environ | {"PLE_HOME": str(tmp_path)}
    )
    try:
        daemon.start()
        while not begun(tmp_path):
            time.sleep(0.1)
        (mine,) = [run.run_id for run in instance.get_runs() if "ple/command" in run.tags] or [""]
        assert mine, "the command was first"
        daemon.dagster("job", "launch", "-j", "nightly", "--tags", f'{{"dagster/partition": "{day}"}}')
        (tmp_path / "gate").unlink()
        assert command.wait(timeout=300) == 0
    finally:
        command.kill()
        command.wait()
    daemon.until(lambda: all(run.is_finished for run in instance.get_runs()))
    (other,) = [run for run in instance.get_runs() if run.run_id != mine]
    said = "\n".join(entry.message for entry in instance.all_logs(other.run_id))
    assert f"nothing is left to do: run {mine[:8]}" in said
    assert begun(tmp_path) == [f"nightly {day}"]
