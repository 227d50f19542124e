"""Schedules and sensors without a daemon: no night before its due training, no training before earlier nights."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from pipeline.definitions import build_definitions
from pipeline.resources.tracking import HELD, REFUSED, RegisteredVersion, Tracking
from pipeline.runs import PARTITION_TAG, PID_TAG
from pipeline.schedules import UNTIL_TAG, NextRuns, next_runs
from pipeline.settings import Settings

IDLE: dict[str, set[str]] = {"nightly": set(), "training": set()}
DAYS = ["2017-10-03", "2017-10-04", "2017-10-05"]
AT = datetime(2017, 10, 5, 3, tzinfo=ZoneInfo("America/New_York"))


def version(trained: str | None) -> RegisteredVersion | None:
    if trained is None:
        return None
    return RegisteredVersion("3", "run", date.fromisoformat(trained), "state", "completejourney", Path())


class Champion(Tracking):
    """Stands in for MLflow: a champion trained as of a date, or none."""

    trained: str | None = None

    def champion(self) -> RegisteredVersion | None:
        return version(self.trained)

    def challenger(self) -> RegisteredVersion | None:
        return None


def build(home: Path, trained: str | None) -> dg.Definitions:
    champion = Champion(uri="", artifacts="", dataset="completejourney", trained=trained)
    return build_definitions(Settings(home=home, catch_up_days=3), resources={"tracking": champion})


@pytest.mark.parametrize(
    ("trained", "running", "ended", "expected"),
    [
        ("2017-10-01", {}, (), NextRuns(tuple(DAYS), None)),
        (None, {}, (), NextRuns((), DAYS[0])),
        (None, {}, (DAYS[0],), NextRuns((DAYS[0],), None)),  # its training ended; the next date has to wait for it
        ("2017-09-27", {}, (), NextRuns((DAYS[0],), None)),  # the second date trains, after the first is scored
        ("2017-09-27", {"nightly": {DAYS[0]}}, (), NextRuns((), None)),
        ("2017-09-26", {"training": {DAYS[0]}}, (), NextRuns((), None)),
        ("2017-09-26", {"nightly": {DAYS[0]}}, (), NextRuns((), None)),
        ("2017-10-01", {"nightly": {DAYS[1]}}, (), NextRuns((DAYS[0], DAYS[2]), None)),
        ("2017-10-09", {}, (), NextRuns(tuple(DAYS), None)),  # hindsight never trains
    ],
)
def test_the_order_of_runs(trained: str | None, running: dict, ended: tuple, expected: NextRuns) -> None:
    assert next_runs(DAYS, IDLE | running, version(trained), 7, ended) == expected


@pytest.mark.parametrize(
    ("trained", "status", "expected"),
    [
        ("2017-09-20", REFUSED, NextRuns(tuple(DAYS), None)),  # not trained again before the next training is due
        ("2017-09-20", HELD, NextRuns(tuple(DAYS), None)),
        ("2017-09-20", "", NextRuns((), DAYS[0])),  # the training was killed before its decision
        (None, HELD, NextRuns((), None)),  # nothing may score
        (None, REFUSED, NextRuns((), DAYS[0])),
    ],
)
def test_a_challenger_that_was_judged_stands_for_the_training(
    trained: str | None, status: str, expected: NextRuns
) -> None:
    challenger = RegisteredVersion("4", "r", date(2017, 10, 3), "state", "completejourney", Path(), status)
    assert next_runs(DAYS, IDLE, version(trained), 7, (), challenger) == expected


def tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, at: datetime = AT
) -> tuple[list[dg.RunRequest], str]:
    """The requests and the reason to skip of one tick."""
    assert definitions.resources is not None
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources={"tracking": definitions.resources["tracking"]},
    )
    data = definitions.resolve_schedule_def(name).evaluate_tick(context)
    return list(data.run_requests or []), data.skip_message or ""


def test_missed_nights_are_caught_up_and_scored_ones_left(tmp_path: Path) -> None:
    definitions = build(tmp_path, "2017-10-01")
    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key="scores", partition="2017-10-04"))
        requests, _ = tick(definitions, instance, "nightly")
        assert [r.partition_key for r in requests] == ["2017-10-03", "2017-10-05"]
        assert [r.run_key for r in requests] == ["2017-10-03@2017-10-05", "2017-10-05@2017-10-05"]
        requests, why = tick(definitions, instance, "training")
        assert requests == []
        assert "no training" in why


def test_a_due_training_comes_before_its_night(tmp_path: Path) -> None:
    definitions = build(tmp_path, None)
    with dg.instance_for_test() as instance:
        requests, why = tick(definitions, instance, "nightly")
        assert requests == []
        assert "2017-10-03 trains first" in why
        requests, _ = tick(definitions, instance, "training")
        assert [r.partition_key for r in requests] == ["2017-10-03"]
        assert requests[0].tags[UNTIL_TAG] == "2017-10-05"
        start(definitions, instance, "training", "2017-10-03", DagsterRunStatus.STARTED)
        assert tick(definitions, instance, "training")[0] == []
        assert tick(definitions, instance, "nightly")[0] == []


def test_a_data_set_that_has_ended_asks_for_nothing(tmp_path: Path) -> None:
    definitions = build(tmp_path, None)
    with dg.instance_for_test() as instance:
        for name in ("nightly", "training"):
            requests, why = tick(definitions, instance, name, AT.replace(year=2026))
            assert not requests
            assert "2018-01-01" in why


def start(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    day: str,
    status: DagsterRunStatus,
    **tags: str,
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        definitions.resolve_job_def(job), status=status, tags={PARTITION_TAG: day, **tags}
    )


def after(
    definitions: dg.Definitions, instance: dg.DagsterInstance, way: str, run: dg.DagsterRun
) -> list[tuple[str | None, str | None]]:
    """(job, as-of date) of the runs that a sensor asks for when a run has ended."""
    sensor = definitions.resolve_sensor_def(f"after_{way}")
    assert definitions.resources is not None
    event = dg.DagsterEvent(
        event_type_value={
            "success": dg.DagsterEventType.RUN_SUCCESS,
            "failure": dg.DagsterEventType.RUN_FAILURE,
            "cancellation": dg.DagsterEventType.RUN_CANCELED,
        }[way].value,
        job_name=run.job_name,
    )
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=event,
        resources={"tracking": definitions.resources["tracking"]},
        repository_def=definitions.get_repository_def(),
    )
    requests = [r for r in sensor(context) if isinstance(r, dg.RunRequest)]
    assert all(request.tags[UNTIL_TAG] == run.tags.get(UNTIL_TAG, request.partition_key) for request in requests)
    return [(r.job_name, r.partition_key) for r in requests]


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("success", DagsterRunStatus.SUCCESS),
        ("failure", DagsterRunStatus.FAILURE),
        ("cancellation", DagsterRunStatus.CANCELED),
    ],
)
def test_the_night_follows_its_training_however_it_ended(way: str, status: DagsterRunStatus, tmp_path: Path) -> None:
    trained = "2017-10-03" if way == "success" else "2017-09-20"
    definitions = build(tmp_path, trained)
    with dg.instance_for_test() as instance:
        run = start(definitions, instance, "training", "2017-10-03", status, **{UNTIL_TAG: "2017-10-05"})
        expected = [("nightly", day) for day in (DAYS if way == "success" else DAYS[:1])]
        assert after(definitions, instance, way, run) == expected


def test_after_a_night_the_next_date_that_waits_trains_and_a_failed_night_is_not_repeated(tmp_path: Path) -> None:
    definitions = build(tmp_path, "2017-09-20")
    with dg.instance_for_test() as instance:
        failed = start(
            definitions, instance, "nightly", "2017-10-03", DagsterRunStatus.FAILURE, **{UNTIL_TAG: "2017-10-05"}
        )
        assert after(definitions, instance, "failure", failed) == [("training", "2017-10-04")]
        by_hand = start(definitions, instance, "nightly", "2017-10-03", DagsterRunStatus.SUCCESS)
        assert after(definitions, instance, "success", by_hand) == []


def test_runs_of_the_command_are_left_to_it(tmp_path: Path) -> None:
    definitions = build(tmp_path, "2017-10-01")
    with dg.instance_for_test() as instance:
        run = start(definitions, instance, "training", "2017-10-03", DagsterRunStatus.SUCCESS, **{PID_TAG: "1:1"})
        assert after(definitions, instance, "success", run) == []


def test_nothing_runs_by_itself_until_somebody_turns_it_on(tmp_path: Path) -> None:
    definitions = build(tmp_path, None)
    for name in ("nightly", "training"):
        assert definitions.resolve_schedule_def(name).default_status == dg.DefaultScheduleStatus.STOPPED
    for way in ("success", "failure", "cancellation"):
        assert definitions.resolve_sensor_def(f"after_{way}").default_status == dg.DefaultSensorStatus.STOPPED
