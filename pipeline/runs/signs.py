"""Signs of life: each run's process holds a lock that bears the run's id, so that anybody can see whether it lives.

A run whose process is gone (killed, out of memory, a power cut) stays "started" for Dagster, which then starts no
other: `clear_dead_runs` fails it with a reason and frees its place. It needs no lock of its own and no daemon, and is
called where a command starts, at each tick of the schedules and by the sensor `dead_runs`.
"""

import json
import logging
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from pipeline.clock import age
from pipeline.home.folder import Home
from pipeline.home.locks import Lock, is_held

DEAD_TAG = "ple/dead"
"""Run tag: the run's process was gone; the run itself did nothing wrong and may be tried again."""
SERVER_TAG = ".dagster/grpc_info"
"""Dagster's tag of a run that a daemon or the UI launches: the address of the server that starts its process."""
WITH_PROCESS = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
"""Statuses of a run that has, or is about to have, a process."""
SECONDS_TO_SIGN = 60.0
"""A run gives its sign within milliseconds of its start; a started one that has none after this long is dead."""
SECONDS_TO_QUEUE = 600.0
"""A run enters the queue as soon as it is asked for; one that has not by now lost who asked."""
REASON = "The process of this run is gone (killed, out of memory, or the machine went down); nothing published is lost."


def _file(home: Home, run_id: str) -> Path:
    return home.locks / "runs" / run_id


def give_sign(home: Home, run_id: str) -> Lock:
    """Take the sign of a run for this process, until it is released or the process ends. Its file appears held."""
    file = _file(home, run_id)
    lock = Lock(file.with_name(f".{run_id}"))
    if not lock.acquire("a run", run_id):
        raise RuntimeError(f"run {run_id} is executed by another process")
    lock.file.rename(file)
    return lock


@contextmanager
def sign_of_life(home: Home, run_id: str) -> Iterator[None]:
    """Hold the sign of a run that is executed inside the block: it goes after the run's end is written."""
    with give_sign(home, run_id):
        try:
            yield
        finally:
            _file(home, run_id).unlink(missing_ok=True)


def is_dead(home: Home, record: RunRecord) -> bool:
    """Whether the process of an unfinished run is gone."""
    run = record.dagster_run
    if _file(home, run.run_id).exists():
        return not is_held(_file(home, run.run_id))
    if run.status is DagsterRunStatus.STARTED:
        return age(record.start_time or record.create_timestamp.timestamp()) > SECONDS_TO_SIGN
    if run.status is DagsterRunStatus.NOT_STARTED:
        return age(record.create_timestamp.timestamp()) > SECONDS_TO_QUEUE
    return SERVER_TAG in run.tags and not _answers(json.loads(run.tags[SERVER_TAG]).get("socket"))


def _answers(address: str | None) -> bool:
    """Whether a server listens on a local socket; True where the server is none of this machine."""
    if address is None:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True


def is_dead_or_finished(instance: DagsterInstance, home: Home, run_id: str) -> bool:
    """Whether a run has ended, one way or the other."""
    record = instance.get_run_record_by_id(run_id)
    return record is None or record.dagster_run.is_finished or is_dead(home, record)


def dead_runs(instance: DagsterInstance, home: Home) -> list[DagsterRun]:
    """The unfinished runs whose process is gone."""
    records = instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.NOT_STARTED, *WITH_PROCESS]))
    gone = [record.dagster_run.run_id for record in records if is_dead(home, record)]
    now = [run for run_id in gone if (run := instance.get_run_by_id(run_id)) is not None]
    return [run for run in now if not run.is_finished]  # a process writes how its run ended before it ends itself


def clear_dead_runs(instance: DagsterInstance, home: Home, but: Collection[str] = ()) -> list[str]:
    """Fail the runs whose process is gone, `but` these, and free their places, in the queue and in pools. Returns their
    ids. One that somebody was cancelling is cancelled, and not tried again."""
    cleared = []
    for run in dead_runs(instance, home):
        if run.run_id in but:
            continue
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=REASON)
        else:
            instance.add_run_tags(run.run_id, {DEAD_TAG: "true"})
            instance.report_run_failed(run, message=REASON)
        with suppress(NotImplementedError):  # a storage without pools
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        logging.getLogger(__name__).warning("run %s: %s", run.run_id[:8], REASON)
        cleared.append(run.run_id)
    _sweep(instance, home)
    return cleared


def _sweep(instance: DagsterInstance, home: Home) -> None:
    """Delete the signs that killed processes left, once their runs are finished."""
    for file in (home.locks / "runs").glob("*"):
        run = instance.get_run_by_id(file.name.removeprefix("."))
        if not is_held(file) and (run is None or run.is_finished):
            file.unlink(missing_ok=True)
