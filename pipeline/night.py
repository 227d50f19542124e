"""One night, started by a person or a scheduler on this machine: lock, clear what a killed night left, run, sum up."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from pipeline.home import Home

PID_TAG = "ple/pid"
"""Run tag that carries `<process id>:<its start time>`, so that a later night can tell whether a run still lives."""


LOCATION_TAG = ".dagster/repository"
"""Where Dagster notes a run's code location: with it the UI lists the run under the job and on the timeline."""


class NightIsRunning(RuntimeError):
    """Another process runs a night in the same home."""


@contextmanager
def one_at_a_time(home: Home) -> Iterator[None]:
    """Hold the home's lock. The kernel releases it when the process dies, however it dies."""
    with (home.root / "night.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NightIsRunning(f"another night is running in {home.root}; wait for it or stop it first") from None
        yield


def process_mark(pid: int) -> str | None:
    """`pid:start` of a living process, None of a dead one. The start time tells a reused pid from the old process."""
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


def run_night(definitions: dg.Definitions, instance: DagsterInstance, as_of: date) -> dg.ExecuteInProcessResult:
    """Materialise the nightly job for one as-of date in this process."""
    job = definitions.resolve_job_def("nightly")
    mark = process_mark(os.getpid())
    return job.execute_in_process(
        partition_key=as_of.isoformat(),
        instance=instance,
        raise_on_error=False,
        tags={PID_TAG: mark or "", LOCATION_TAG: "__repository__@ple"},
    )


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """What a person needs to read of a failed night: the step and the innermost reason, without the traceback."""
    reasons = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            text = (error.message if error else event.message or "").strip()
            reasons.append(
                f"{(event.step_key or '').replace('__', '/')}: {text.split(': ', 1)[-1] if ': ' in text else text}"
            )
    return "\n".join(reasons) or "the run failed before its first step"
