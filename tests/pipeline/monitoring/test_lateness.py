"""A night that never started: who expects it, when it is late, and what is said of a dead daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._daemon.types import DaemonHeartbeat

from pipeline.home.folder import Home
from pipeline.monitoring.lateness import DAEMONS, Late, daemons_alive, late_night, next_tick, on_since, switched
from pipeline.resources.publication import Published
from pipeline.runs.in_process import one_at_a_time
from pipeline.settings import AlertSettings, Settings

PARTITIONS = dg.DailyPartitionsDefinition("2018-01-01", timezone="Europe/Zurich", end_date="2018-02-01")
TICK = datetime(2018, 1, 10, 2, tzinfo=UTC)
"""03:00 in Zurich."""
NOON = TICK + timedelta(hours=9)


def settings(home: Path, **alerts: object) -> Settings:
    return Settings(home=home, alerts=AlertSettings.model_validate(alerts))


def turn(instance: DagsterInstance, on: bool, since: datetime = TICK - timedelta(days=9)) -> None:
    """The schedule `nightly`, as the daemon notes it."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ple"), "__repository__")
    instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(repository, "nightly"),
            InstigatorType.SCHEDULE,
            InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED,
            ScheduleInstigatorData("0 3 * * *", since.timestamp()),
        )
    )


def beat(instance: DagsterInstance, at: datetime) -> None:
    for name in DAEMONS:
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, "id", []))


def test_without_the_schedule_no_night_is_expected_but_where_the_settings_say_so(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    assert late_night(instance, PARTITIONS, settings(tmp_path), NOON) is None
    assert late_night(instance, PARTITIONS, settings(tmp_path, expected="never"), NOON) is None
    assert switched(instance) == {}
    late = late_night(instance, PARTITIONS, settings(tmp_path, expected="always"), NOON)
    assert late == Late("2018-01-10", TICK, "no daemon lives")
    assert (
        late.words == "the night of 2018-01-10 was due at 2018-01-10 03:00 CET and there are no scores: no daemon lives"
    )
    assert late.alert.text.endswith("(docs/operating.md).")


def test_a_night_is_late_some_hours_after_its_tick_until_it_has_scores(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    turn(instance, on=True)
    assert on_since(instance, "nightly") == (TICK - timedelta(days=9)).timestamp()
    home = settings(tmp_path)
    Published(Home(tmp_path).lake, "scores").publish(pl.DataFrame({"customer_id": ["a"]}), "2018-01-09")
    assert late_night(instance, PARTITIONS, home, TICK + timedelta(hours=5)) is None, "it may be at work"
    beat(instance, NOON)
    late = late_night(instance, PARTITIONS, home, NOON)
    assert late is not None
    assert (late.day, late.why) == ("2018-01-10", "no run of it is under way")
    with one_at_a_time(Home(tmp_path), "ple nightly of 2018-01-10"):
        late = late_night(instance, PARTITIONS, home, NOON)
        assert late is not None
        assert late.why.startswith("ple nightly of 2018-01-10 (process")
    Published(Home(tmp_path).lake, "scores").publish(pl.DataFrame({"customer_id": ["a"]}), "2018-01-10")
    assert late_night(instance, PARTITIONS, home, NOON) is None
    assert late_night(instance, PARTITIONS, home, datetime(2018, 3, 1, tzinfo=UTC)) is None, "no such as-of date"


@pytest.mark.parametrize(("on", "since", "late"), [(True, -1, True), (True, 1, False), (False, -1, False)])
def test_only_ticks_since_the_schedule_is_on_count(
    on: bool, since: int, late: bool, tmp_path: Path, instance: DagsterInstance
) -> None:
    turn(instance, on, TICK + timedelta(hours=since))
    assert (late_night(instance, PARTITIONS, settings(tmp_path), NOON) is not None) is late


def test_a_daemon_that_is_silent_for_minutes_counts_as_dead(instance: DagsterInstance) -> None:
    assert not any(daemons_alive(instance, NOON).values())
    beat(instance, NOON)
    assert all(daemons_alive(instance, NOON + timedelta(minutes=2)).values())
    assert not any(daemons_alive(instance, NOON + timedelta(minutes=10)).values())


def test_the_next_tick_follows_the_local_clock(tmp_path: Path) -> None:
    at = next_tick(settings(tmp_path), "Europe/Zurich", datetime(2018, 3, 24, 12, tzinfo=UTC))
    assert at.astimezone(UTC) == datetime(2018, 3, 25, 1, tzinfo=UTC), "03:00 in summer time"
