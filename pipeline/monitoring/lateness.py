"""A night that never started, or never ended: its tick is over and its date has no scores.

A living daemon can look by itself. That the daemon is dead can be noticed by nobody inside it: `ple status` and
`ple doctor` look whenever somebody calls them, a person or a timer of the operating system.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType  # no public way leads to the state of a schedule
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._utils.schedules import cron_string_iterator, reverse_cron_string_iterator  # nor to the times of a cron

from pipeline.home.folder import Home
from pipeline.monitoring.alerts import NIGHT_LATE, Alert
from pipeline.resources.publication import Published
from pipeline.runs.in_process import NIGHTLY
from pipeline.runs.queue import queue_of
from pipeline.settings import Settings

DAEMONS = {"SCHEDULER": "schedules", "SENSOR": "sensors", "QUEUED_RUN_COORDINATOR": "the queue"}
"""Dagster's name of a daemon → what it serves."""

SILENT = 300.0
"""Seconds without a heartbeat after which a daemon counts as dead; it gives one every 30."""


@dataclass(frozen=True)
class Late:
    """The newest as-of date that should have scores by now and has none, and the tick that was to make it."""

    day: str
    tick: datetime
    why: str

    @property
    def words(self) -> str:
        """In one sentence."""
        return f"the night of {self.day} was due at {self.tick:%Y-%m-%d %H:%M %Z} and there are no scores: {self.why}"

    @property
    def alert(self) -> Alert:
        """Its message."""
        return Alert(NIGHT_LATE, self.words)


def switched(instance: DagsterInstance) -> dict[str, bool]:
    """Schedule or sensor → whether it is on; those that nobody ever touched are as they were defined, and not there."""
    kinds = (InstigatorType.SCHEDULE, InstigatorType.SENSOR)
    states = (state for kind in kinds for state in instance.all_instigator_state(instigator_type=kind))
    return {state.instigator_name: state.status is not InstigatorStatus.STOPPED for state in states}


def on_since(instance: DagsterInstance, schedule: str) -> float | None:
    """Since when a schedule is on (seconds since 1970); None where it is off."""
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        if state.instigator_name == schedule and state.status is not InstigatorStatus.STOPPED:
            return float(getattr(state.instigator_data, "start_timestamp", None) or 0.0)
    return None


def daemons_alive(instance: DagsterInstance, now: datetime) -> dict[str, bool]:
    """What a daemon serves → whether it gave a sign of life in the last minutes (Dagster itself waits half an hour)."""
    beats = {name: status.last_heartbeat for name, status in instance.get_daemon_statuses([*DAEMONS]).items()}
    since = now.timestamp() - SILENT
    return {
        serves: (beat := beats.get(name)) is not None and beat.timestamp > since for name, serves in DAEMONS.items()
    }


def next_tick(settings: Settings, zone: str | None, now: datetime) -> datetime:
    """When the schedules tick next."""
    return next(cron_string_iterator(now.timestamp(), settings.schedule_cron, zone))


def late_night(
    instance: DagsterInstance, partitions: dg.DailyPartitionsDefinition, settings: Settings, now: datetime
) -> Late | None:
    """The date of the newest tick that is `late_after_hours` old, if it has no scores; None where it has, or where no
    night is expected. One whose run is still under way is late as well."""
    expected = settings.alerts.expected
    since = on_since(instance, NIGHTLY) if expected == "schedule" else 0.0
    if expected == "never" or since is None:
        return None
    home, keys = Home(settings.home), {*partitions.get_partition_keys()}
    due_by = now - timedelta(hours=settings.alerts.late_after_hours)
    newest = next(reverse_cron_string_iterator(due_by.timestamp(), settings.schedule_cron, partitions.timezone))
    day = newest.date().isoformat()
    if newest.timestamp() < since or day not in keys or Published(home.lake, "scores").has(day):
        return None
    return Late(day, newest, _why(instance, home, now))


def _why(instance: DagsterInstance, home: Home, now: datetime) -> str:
    queue = queue_of(instance, home)
    if queue.holder is not None:
        return f"{queue.holder.words()} is at work"
    if not all(daemons_alive(instance, now).values()):
        return "no daemon lives"
    if queue.waiting or queue.running:
        return f"{len(queue.running)} runs are running, {queue.waiting} wait"
    return "no run of it is under way"
