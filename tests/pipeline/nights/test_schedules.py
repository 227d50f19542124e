"""Schedules and sensors without a daemon: no night before its due training, no training before earlier nights."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.execution.api import execute_run

from pipeline.definitions import build_definitions
from pipeline.home.folder import Home
from pipeline.nights.schedules import UNTIL_TAG, NextRuns, next_runs
from pipeline.resources.tracking import HELD, REFUSED, RegisteredVersion, Tracking
from pipeline.runs.in_process import COMMAND_TAG, PARTITION_TAG
from pipeline.runs.signs import clear_dead_runs, give_sign
from pipeline.settings import Settings
from tests.pipeline import toy_nights

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
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources={"tracking": definitions.resources["tracking"]},
    ) as context:
        data = definitions.resolve_schedule_def(name).evaluate_tick(context)
    return list(data.run_requests or []), data.skip_message or ""


def test_missed_nights_are_caught_up_and_scored_ones_left(tmp_path: Path) -> None:
    definitions = build(tmp_path, "2017-10-01")
    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key="scores", partition="2017-10-04"))
        requests, _ = tick(definitions, instance, "nightly")
        assert [r.partition_key for r in requests] == ["2017-10-03", "2017-10-05"]
        assert [r.run_key for r in requests] == ["2017-10-03#1", "2017-10-05#1"]
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


def sensed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, way: str, run: dg.DagsterRun
) -> list[dg.RunRequest]:
    """What a sensor asks for when a run has ended."""
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
    with dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=run,
        dagster_event=event,
        resources={"tracking": definitions.resources["tracking"]},
        repository_def=definitions.get_repository_def(),
    ) as context:
        return [r for r in sensor(context) if isinstance(r, dg.RunRequest)]


def after(
    definitions: dg.Definitions, instance: dg.DagsterInstance, way: str, run: dg.DagsterRun
) -> list[tuple[str | None, str | None]]:
    """(job, as-of date) of the runs that a sensor asks for when a run has ended."""
    requests = sensed(definitions, instance, way, run)
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
        run = start(definitions, instance, "training", "2017-10-03", DagsterRunStatus.SUCCESS, **{COMMAND_TAG: "true"})
        assert after(definitions, instance, "success", run) == []


def test_nothing_runs_by_itself_until_somebody_turns_it_on(tmp_path: Path) -> None:
    definitions = build(tmp_path, None)
    for name in ("nightly", "training"):
        assert definitions.resolve_schedule_def(name).default_status == dg.DefaultScheduleStatus.STOPPED
    for way in ("success", "failure", "cancellation"):
        assert definitions.resolve_sensor_def(f"after_{way}").default_status == dg.DefaultSensorStatus.STOPPED
    assert definitions.resolve_sensor_def("dead_runs").default_status == dg.DefaultSensorStatus.RUNNING


class ToyDaemon:
    """Does with the toys of a home what a daemon does: asks, and executes one run after the other."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.home, self.instance, self.definitions = home, instance, toy_nights.build(home)
        self.queue: list[dg.DagsterRun] = []

    def tick(self, at: datetime) -> list[str]:
        """Keys of what both schedules ask for, each after `job `."""
        asked = []
        for name in ("nightly", "training"):
            for request in tick(self.definitions, self.instance, name, at)[0]:
                asked.append(f"{name} {request.run_key}")
                self._ask(name, request)
        return asked

    def look_for_the_dead(self) -> list[str]:
        """Keys of what the sensor `dead_runs` asks for, each after `job `."""
        assert self.definitions.resources is not None
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.definitions.get_repository_def(),
            resources={"tracking": self.definitions.resources["tracking"]},
        ) as context:
            requests = self.definitions.resolve_sensor_def("dead_runs").evaluate_tick(context).run_requests or []
        for request in requests:
            assert request.job_name is not None
            self._ask(request.job_name, request)
        return [f"{request.job_name} {request.run_key}" for request in requests]

    def _ask(self, job: str, request: dg.RunRequest) -> None:
        assert request.partition_key is not None
        tags = {PARTITION_TAG: request.partition_key, **request.tags}
        self.queue.append(self.instance.create_run_for_job(toy_nights.job(job, str(self.home)), tags=tags))

    def execute_next(self) -> None:
        """The oldest run of the queue, then what its sensor asks for."""
        run = self.queue.pop(0)
        made = dg.build_reconstructable_job("tests.pipeline.toy_nights", "job", (run.job_name, str(self.home)))
        execute_run(made, run, self.instance)
        self.ended(run.run_id)

    def ended(self, run_id: str) -> list[str]:
        """Keys of what the sensor of a run's end asks for, each after `job `."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        requests = sensed(self.definitions, self.instance, "success" if run.is_success else "failure", run)
        for request in requests:
            assert request.job_name is not None
            self._ask(request.job_name, request)
        return [f"{request.job_name} {request.run_key}" for request in requests]


TODAY = datetime.combine(toy_nights.FIRST, datetime.min.time(), tzinfo=ZoneInfo("UTC")) + timedelta(days=9, hours=3)
MISSED = [(TODAY - timedelta(days=back)).date().isoformat() for back in (2, 1, 0)]


@pytest.mark.parametrize("champion", ["fresh", "none", "due at the second"])
def test_after_three_nights_without_a_daemon_all_are_made_once_oldest_first(
    champion: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    trained = {"fresh": MISSED[0], "due at the second": (TODAY - timedelta(days=8)).date().isoformat()}
    if champion in trained:
        (tmp_path / "champion").write_text(trained[champion])
    daemon = ToyDaemon(tmp_path, instance)
    assert daemon.tick(TODAY) != []
    while daemon.queue:
        assert daemon.tick(TODAY) == [], "nothing is asked for twice"
        daemon.execute_next()
    assert daemon.tick(TODAY) == []
    order = [f"nightly {day}" for day in MISSED]
    if champion != "fresh":
        at = MISSED[0] if champion == "none" else MISSED[1]
        order.insert(order.index(f"nightly {at}"), f"training {at}")
    assert [line.removeprefix("begins ") for line in toy_nights.ran(tmp_path) if line.startswith("begins")] == order


def test_what_failed_is_asked_for_again_at_the_next_tick_under_another_key(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (tmp_path / "champion").write_text(MISSED[0])
    daemon = ToyDaemon(tmp_path, instance)
    assert daemon.tick(TODAY) == [f"nightly {day}#1" for day in MISSED]
    failed = daemon.queue.pop(1)
    instance.report_run_failed(failed)
    assert daemon.ended(failed.run_id) == [], "not at once: the reason may still be there"
    assert daemon.tick(TODAY) == [f"nightly {MISSED[1]}#2"]


def test_a_run_whose_process_died_is_tried_again_at_once_but_not_for_ever(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (tmp_path / "champion").write_text(MISSED[0])
    daemon = ToyDaemon(tmp_path, instance)
    daemon.tick(TODAY)
    for attempt in (2, 3):
        died = next(run for run in daemon.queue if run.tags[PARTITION_TAG] == MISSED[2])
        daemon.queue.remove(died)
        _dies(tmp_path, died)
        assert clear_dead_runs(instance, Home(tmp_path)) == [died.run_id]
        assert daemon.ended(died.run_id) == [f"nightly {MISSED[2]}#{attempt}"]
        assert daemon.queue[-1].tags["dagster/priority"] == "1", "before later dates"
    died = daemon.queue.pop()
    _dies(tmp_path, died)
    clear_dead_runs(instance, Home(tmp_path))
    assert daemon.ended(died.run_id) == []


def test_a_tick_frees_what_died_first_so_that_dates_keep_their_order(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (tmp_path / "champion").write_text(MISSED[0])
    daemon = ToyDaemon(tmp_path, instance)
    daemon.tick(TODAY - timedelta(days=2))
    _dies(tmp_path, next(run for run in daemon.queue if run.tags[PARTITION_TAG] == MISSED[0]))
    assert daemon.tick(TODAY) == [f"nightly {MISSED[0]}#2", f"nightly {MISSED[1]}#1", f"nightly {MISSED[2]}#1"]


@pytest.fixture
def after_failure_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    on = SimpleNamespace(name="after_failure", is_running=True)
    monkeypatch.setattr(dg.DagsterInstance, "all_instigator_state", lambda *_, **__: [on])


@pytest.mark.usefixtures("after_failure_is_on")
def test_what_died_keeps_its_place_until_its_next_attempt_is_queued(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    (tmp_path / "champion").write_text(MISSED[0])
    daemon = ToyDaemon(tmp_path, instance)
    daemon.tick(TODAY)
    died = daemon.queue.pop(0)
    _dies(tmp_path, died)
    assert daemon.tick(TODAY) == [], "the sensor asks"
    assert not _run(instance, died).is_finished
    assert daemon.look_for_the_dead() == [f"nightly {MISSED[0]}#2"]
    assert not _run(instance, died).is_finished, "else the queue would go on with the next date"
    assert daemon.queue[-1].tags["dagster/priority"] == "1"
    assert daemon.tick(TODAY) == []
    assert daemon.look_for_the_dead() == []
    assert _run(instance, died).status is DagsterRunStatus.FAILURE
    assert daemon.ended(died.run_id) == []
    assert daemon.tick(TODAY) == [], "nothing is asked for twice"


@pytest.mark.usefixtures("after_failure_is_on")
def test_what_is_not_tried_again_gives_its_place_back_at_once(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    (tmp_path / "champion").write_text(MISSED[0])
    daemon = ToyDaemon(tmp_path, instance)
    daemon.tick(TODAY)
    of_nobody = instance.create_run_for_job(
        toy_nights.job("nightly", str(tmp_path)), tags={PARTITION_TAG: MISSED[0]}, status=DagsterRunStatus.STARTED
    )
    scored, cancelled, often = daemon.queue
    instance.report_runless_asset_event(dg.AssetMaterialization(asset_key="scores", partition=MISSED[0]))
    instance.report_run_canceling(cancelled)
    for died in (of_nobody, scored, cancelled):
        _dies(tmp_path, died)
    assert daemon.look_for_the_dead() == []
    ends = [_run(instance, died).status for died in (of_nobody, scored, cancelled)]
    assert ends == [DagsterRunStatus.FAILURE, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    for attempt in (2, 3):
        _dies(tmp_path, often)
        assert daemon.look_for_the_dead() == [f"nightly {MISSED[2]}#{attempt}"]
        assert daemon.look_for_the_dead() == []
        often = daemon.queue[-1]
    _dies(tmp_path, often)
    assert daemon.look_for_the_dead() == [], "it died three times"
    assert _run(instance, often).is_finished


def _run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    now = instance.get_run_by_id(run.run_id)
    assert now is not None
    return now


def _dies(home: Path, run: dg.DagsterRun) -> None:
    """The sign that a killed process leaves."""
    give_sign(Home(home), run.run_id).release()
