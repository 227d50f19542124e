"""Backfills: oldest first, resumable, and after those who wait."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest

from pipeline.deployment import Deployment
from pipeline.home.folder import Home
from pipeline.monitoring.night_report import REPORT
from pipeline.nights import backfill, told_night
from pipeline.nights.backfill import Backfill, days_to_make
from pipeline.nights.night import Outcome
from pipeline.runs import queue
from pipeline.runs.in_process import PARTITION_TAG
from pipeline.settings import Settings
from tests.pipeline import toy_nights
from tests.pipeline.home.test_locks import held_elsewhere

DAYS = [toy_nights.FIRST + timedelta(days=day) for day in (2, 3, 4)]


def days(instance: dg.DagsterInstance, again: bool = False) -> list[date]:
    partitions = dg.DailyPartitionsDefinition(start_date=toy_nights.FIRST.isoformat(), end_offset=1)
    return days_to_make(instance, partitions, DAYS[0], DAYS[-1], again)


def run(home: Path, instance: dg.DagsterInstance, dates: list[date]) -> tuple[Outcome | None, str]:
    said: list[str] = []
    return of(home, toy_nights.build(home), instance, said).run(dates), "\n".join(said)


def of(home: Path, definitions: dg.Definitions, instance: dg.DagsterInstance, said: list[str]) -> Backfill:
    settings = Settings(home=home, retrain_after_days=7)
    deployment = Deployment(settings, Home(home), instance, toy_nights.tracking(home))
    return Backfill(deployment, definitions, said.append, lambda error: f"in words: {error}")


def begun(home: Path) -> list[str]:
    return [line.removeprefix("begins ") for line in toy_nights.ran(home) if line.startswith("begins")]


def test_the_nights_of_a_range_are_made_oldest_first_and_published_ones_left(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key="scores", partition=DAYS[1].isoformat()))
    assert days(instance) == [DAYS[0], DAYS[2]]
    assert days(instance, again=True) == DAYS
    stopped, said = run(tmp_path, instance, days(instance))
    assert stopped is None
    assert begun(tmp_path) == [f"training {DAYS[0]}", f"nightly {DAYS[0]}", f"nightly {DAYS[2]}"]
    assert f"1 of 2: {DAYS[0]}" in said
    assert f"2 of 2: {DAYS[2]} (about " in said
    assert days(instance) == []


@pytest.mark.parametrize("outside", [False, True], ids=["a step", "outside of the steps"])
def test_a_backfill_stops_at_a_night_that_fails_leaves_its_report_tells_and_goes_on_there(
    outside: bool, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "champion").write_text(DAYS[0].isoformat())
    real = told_night.run_night

    def fails_at_the_second(*given: Any) -> Outcome:
        if DAYS[1] not in given:
            return real(*given)
        if outside:
            raise ConnectionRefusedError("no server")
        return Outcome(False, failure="the delivery is broken")

    monkeypatch.setattr(told_night, "run_night", fails_at_the_second)
    stopped, said = run(tmp_path, instance, days(instance))
    why = "in words: no server" if outside else "the delivery is broken"
    assert stopped == Outcome(False, failure=why)
    assert begun(tmp_path) == [f"nightly {DAYS[0]}"]
    assert f"alert, night failed: {why}" in said
    reports = sorted((tmp_path / "reports").glob(f"as_of=*/{REPORT}"))
    assert [file.parent.name for file in reports] == [f"as_of={DAYS[1]}"]
    assert why in reports[0].read_text()
    monkeypatch.undo()
    assert run(tmp_path, instance, days(instance))[0] is None
    assert begun(tmp_path) == [f"nightly {day}" for day in DAYS]


def test_between_two_nights_others_go_first(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "LOOKS_EVERY", 0.05)
    (tmp_path / "champion").write_text(DAYS[0].isoformat())
    results: list[tuple[Outcome | None, str]] = []
    with held_elsewhere(Home(tmp_path).locks / "night") as other:
        second = Thread(target=lambda: results.append(run(tmp_path, instance, DAYS[:1])))
        second.start()
        second.join(timeout=1.0)
        assert second.is_alive()
        assert begun(tmp_path) == []
        other.kill()
        second.join(timeout=120)
    assert results[0][0] is None
    assert f"waits: a long night (run 12345678, process {other.pid}" in results[0][1]
    assert begun(tmp_path) == [f"nightly {DAYS[0]}"]


def test_a_queue_that_a_daemon_serves_goes_first_and_one_that_nobody_serves_does_not(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    made = of(tmp_path, dg.Definitions(), instance, said)
    state = queue.queue_of(instance, Home(tmp_path))
    for taken, words in ((True, "1 runs of the queue go first"), (False, "")):
        waits = queue.Queue((), (), 1, timedelta(0), taken, None)
        monkeypatch.setattr(backfill, "queue_of", lambda *_, waits=waits: waits)
        assert made._others() == words
    assert state.problems() == []


def test_a_killed_backfill_goes_on_where_it_was(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "champion").write_text(DAYS[0].isoformat())
    (tmp_path / "gate").touch()
    code = f"from tests.pipeline.nights.test_backfill import *; whole('{tmp_path}')"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not begun(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    (tmp_path / "gate").unlink()
    stopped, said = run(tmp_path, instance, days(instance))
    assert stopped is None
    assert "was killed; its place is freed" in said
    assert begun(tmp_path) == [f"nightly {day}" for day in (DAYS[0], *DAYS)]
    states = {(run.tags[PARTITION_TAG], run.status.value) for run in instance.get_runs()}
    assert states == {(DAYS[0].isoformat(), "FAILURE"), *((day.isoformat(), "SUCCESS") for day in DAYS)}


def whole(home: str) -> None:
    """All of the backfill, in a process of its own."""
    with dg.DagsterInstance.from_config(str(Path(home) / "dagster")) as instance:
        run(Path(home), instance, DAYS)
