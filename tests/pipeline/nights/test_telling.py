"""The sensors that tell: of a run of the daemon that failed, of a night that was published, of one that is late."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from pipeline.monitoring.alerts import NIGHT_FAILED, NIGHT_LATE, TOLD
from pipeline.monitoring.lateness import Late
from pipeline.monitoring.night_report import Reporter
from pipeline.monitoring.summary import DRIFT, TRAINING_FAILED
from pipeline.nights import telling
from pipeline.runs.in_process import COMMAND_TAG, PARTITION_TAG
from pipeline.runs.signs import DEAD_TAG
from pipeline.settings import Settings

DAY = "2018-01-01"
PARTITIONS = dg.DailyPartitionsDefinition("2017-12-01", end_date="2018-01-02")


@dg.op
def work() -> None: ...


def job(name: str) -> dg.JobDefinition:
    return dg.GraphDefinition(name=name, node_defs=[work]).to_job()


JOBS = {name: job(name) for name in ("training", "nightly")}


@pytest.fixture
def sensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dg.SensorDefinition]:
    monkeypatch.delenv("PLE_ALERT_WEBHOOK", raising=False)
    made = telling.telling_sensors([*JOBS.values()], PARTITIONS, Settings(home=tmp_path))  # type: ignore[list-item]
    return {sensor.name: sensor for sensor in made}


def ended(
    sensor: dg.SensorDefinition, instance: DagsterInstance, name: str, status: DagsterRunStatus, **tags: str
) -> None:
    run = instance.create_run_for_job(JOBS[name], status=status, tags={PARTITION_TAG: DAY, **tags})
    failed = status is DagsterRunStatus.FAILURE
    kind = dg.DagsterEventType.RUN_FAILURE if failed else dg.DagsterEventType.RUN_SUCCESS
    made: Any = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=dg.DagsterEvent(event_type_value=kind.value, job_name=name),
        resources=dict.fromkeys(("lake", "tracking"), SimpleNamespace()),
    )
    with made.for_run_failure() if failed else made as context:
        sensor(context)


def told(home: Path) -> dict[str, str]:
    file = home / TOLD
    return json.loads(file.read_text()) if file.exists() else {}


def test_a_failure_is_told_with_its_reason_and_leaves_a_report(
    tmp_path: Path, instance: DagsterInstance, sensors: dict[str, dg.SensorDefinition], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(Reporter, "try_to_write", lambda _, day, reason: written.append((day, reason)))
    monkeypatch.setattr(telling, "failure_message", lambda *_: "scores: no disk")
    failed = DagsterRunStatus.FAILURE
    ended(sensors["tell_failure"], instance, "nightly", failed, **{COMMAND_TAG: "true"})
    assert told(tmp_path) == {}, "a command tells of its own runs"
    ended(sensors["tell_failure"], instance, "nightly", failed, **{DEAD_TAG: "true"})
    assert told(tmp_path) == {}, "its process died; it is tried again at once"
    ended(sensors["tell_failure"], instance, "training", failed)
    assert told(tmp_path) == {TRAINING_FAILED: DAY}
    assert written == []
    ended(sensors["tell_failure"], instance, "nightly", failed)
    assert told(tmp_path) == {TRAINING_FAILED: DAY, NIGHT_FAILED: DAY}
    assert written == [(DAY, "scores: no disk")]


def test_a_night_that_was_published_tells_what_it_has_and_ends_what_is_over(
    tmp_path: Path, instance: DagsterInstance, sensors: dict[str, dg.SensorDefinition]
) -> None:
    (tmp_path / TOLD).write_text(json.dumps({NIGHT_FAILED: "2017-12-31"}))
    summary = tmp_path / "reports" / f"as_of={DAY}" / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps({"facts": {DRIFT: "spend: far from the training"}}))
    ended(sensors["tell_night"], instance, "nightly", DagsterRunStatus.SUCCESS)
    assert told(tmp_path) == {DRIFT: DAY}


def test_a_late_night_is_told_once(
    tmp_path: Path,
    instance: DagsterInstance,
    sensors: dict[str, dg.SensorDefinition],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late: list[Late | None] = [None]
    monkeypatch.setattr(telling, "late_night", lambda *_: late[0])
    look = sensors["tell_late"]
    with dg.build_sensor_context(instance) as context:
        assert "no night is late" in str(look(context))
    late[0] = Late(DAY, telling.datetime(2018, 1, 1, 3, tzinfo=telling.UTC), "no run of it is under way")
    with dg.build_sensor_context(instance) as context:
        assert "was due at 2018-01-01 03:00" in str(look(context))
    assert told(tmp_path) == {NIGHT_LATE: DAY}


def test_they_are_on_from_the_beginning_and_start_nothing(sensors: dict[str, dg.SensorDefinition]) -> None:
    assert {sensor.default_status for sensor in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}
    assert all("starts nothing" in str(sensor.description) for sensor in sensors.values())
