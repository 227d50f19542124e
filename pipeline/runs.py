"""Runs of a job in this process: one at a time in a home, dead ones cleared, failures in words."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from pipeline.home import Home

NIGHTLY, TRAINING = "nightly", "training"
"""The two jobs of an as-of date."""
PROMOTE, ROLLBACK = "promote", "rollback"
"""The two jobs by which a person decides about the champion."""
PID_TAG = "ple/pid"
"""Run tag that carries `<process id>:<its start time>`, by which a later run sees whether this one still lives."""
PARTITION_TAG = "dagster/partition"
LOCATION_TAG = ".dagster/repository"
"""Dagster's tag for a run's code location: with it the UI lists the run under the job and on the timeline."""


class HomeIsBusy(RuntimeError):
    """Another process runs a job in the same home."""


@contextmanager
def one_at_a_time(home: Home) -> Iterator[None]:
    """Hold the home's lock. The kernel releases it when the process dies, however it dies.

    Raises:
        HomeIsBusy: another process holds it.
    """
    with (home.root / "night.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeIsBusy(f"another night is running in {home.root}; wait for it or stop it first") from None
        yield


def process_mark(pid: int) -> str | None:
    """`pid:start` of a living process, None of a dead one. The start time differs where a pid is used again."""
    import psutil

    try:
        return f"{pid}:{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def clear_dead_runs(instance: DagsterInstance) -> list[str]:
    """Fail the runs whose process is gone and free the pool slots they hold. Returns their ids."""
    cleared = []
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])):
        mark = run.tags.get(PID_TAG)
        if mark is None or process_mark(int(mark.split(":")[0])) == mark:
            continue
        instance.report_run_failed(run, message="The process of this run is gone (killed, or the machine restarted).")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        cleared.append(run.run_id)
    return cleared


def run_job(
    definitions: dg.Definitions,
    instance: DagsterInstance,
    job: str,
    as_of: date | None,
    config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process, for one as-of date where it has any. A failure is in the result, not raised."""
    mark = process_mark(os.getpid())
    return definitions.resolve_job_def(job).execute_in_process(
        run_config=config,
        partition_key=as_of.isoformat() if as_of else None,
        instance=instance,
        raise_on_error=False,
        tags={PID_TAG: mark or "", LOCATION_TAG: "__repository__@ple"},
    )


def failure_message(instance: DagsterInstance, run_id: str) -> str:
    """The failed steps of a run, each with the reason that it raised, without the traceback; steps with one reason
    share a line. What lies below that reason (an error of a library) names no table and no file."""
    reasons: dict[str, list[str]] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        error = event.step_failure_data.error
        while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
            error = error.cause
        text = (error.message if error else event.message or "").strip()
        step = (event.step_key or "").replace("__", "/")
        reasons.setdefault(text.split(": ", 1)[-1], []).append(step)
    return (
        "\n".join(f"{', '.join(steps)}: {reason}" for reason, steps in reasons.items())
        or "the run ended before a step could fail (killed, canceled, or refused)"
    )


def training_failure(instance: DagsterInstance, as_of: str) -> str:
    """Why the newest training of an as-of date failed; empty where it succeeded or none ran."""
    runs = instance.get_runs(RunsFilter(job_name=TRAINING, tags={PARTITION_TAG: as_of}), limit=1)
    if runs and runs[0].status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        return failure_message(instance, runs[0].run_id)
    return ""
