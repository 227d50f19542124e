"""Runs of a job in this process: one at a time in a home, what failed or was stopped in words."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.execution.execute_in_process import merge_run_tags
from dagster._core.execution.job_execution_result import JobExecutionResult
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths

from pipeline import faults
from pipeline.home.folder import Home
from pipeline.home.locks import Lock
from pipeline.resources.publication import published_words
from pipeline.runs.signs import sign_of_life
from pipeline.settings import WORKSPACE
from pipeline.stopping import CTRL_C, IN_THE_UI, Stopped, signalled

NIGHTLY, TRAINING = "nightly", "training"
"""The two jobs of an as-of date."""
PROMOTE, ROLLBACK = "promote", "rollback"
"""The two jobs by which a person decides about the champion."""
COMMAND_TAG = "ple/command"
"""Run tag: a command executes the run itself and goes on by itself; the sensors leave it alone."""
PARTITION_TAG = "dagster/partition"
WRAPPERS = ("Dagster", "RetryRequested")
"""Beginnings of the names of errors that Dagster puts around the reason."""


class HomeIsBusy(RuntimeError):
    """Another process writes to the same home; the message says which."""


@dataclass(frozen=True)
class HeldHome:
    """A home whose lock this process holds: what runs there without waiting."""

    home: Home
    lock: Lock


def night_lock(home: Home) -> Lock:
    """The one lock of everything that writes shared state: nights, trainings, whoever starts them."""
    return Lock(home.locks / "night")


@contextmanager
def one_at_a_time(home: Home, what: str = "a command") -> Iterator[HeldHome]:
    """Hold the home's lock. The kernel releases it when the process dies, however it dies.

    Raises:
        HomeIsBusy: another process holds it.
    """
    with night_lock(home) as lock:
        if not lock.acquire(what):
            holder = lock.holder()
            who = f": {holder.words()}" if holder else ""
            raise HomeIsBusy(f"home {home.root} is in use{who}; wait for it, or stop that process") from None
        yield HeldHome(home, lock)


def job_origin(job: str) -> RemoteJobOrigin:
    """Where Dagster's servers find a job: by it the UI shows a run under its job, on the timeline and in the graph."""
    (location,) = location_origins_from_yaml_paths([str(WORKSPACE)])
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(job)


def run_job(
    held: HeldHome,
    definitions: dg.Definitions,
    instance: DagsterInstance,
    job: str,
    as_of: date | None,
    config: Mapping[str, Any] | None = None,
) -> JobExecutionResult:
    """Run a job in this process, for one as-of date where it has any. A failure is in the result, not raised.

    The run is what `JobDefinition.execute_in_process` makes, and bears the job's origin besides, which that one leaves
    out.

    Raises:
        Stopped: from outside, by a signal or in the UI; the run is canceled.
    """
    run_id = str(uuid.uuid4())
    what = f"{job} of {as_of}" if as_of else job
    held.lock.note(what, run_id)
    definition = definitions.resolve_job_def(job).as_ephemeral_job({}, {})  # its executor takes no lock: it is held
    day = as_of.isoformat() if as_of else None
    by_day = definition.partitioned_config
    if day is not None and by_day is not None:
        config = config or by_day.get_run_config_for_partition_key(day)
    with sign_of_life(held.home, run_id):
        run = instance.create_run_for_job(
            definition,
            run_id=run_id,
            run_config=config,
            tags=merge_run_tags(definition, day, {COMMAND_TAG: "true"}, [], instance, config),
            remote_job_origin=job_origin(job),
        )
        result = execute_run(InMemoryJob(definition), run, instance)
    if by := stopped_by(instance, run_id):
        stopped = instance.get_run_by_id(run_id)
        if stopped is not None and stopped.status not in (DagsterRunStatus.CANCELED, DagsterRunStatus.SUCCESS):
            instance.report_run_canceled(stopped, message=f"Stopped by {by}.")
        raise Stopped(by, what, published_words(held.home.lake, as_of) if as_of else "nothing published is lost")
    return result


def stopped_by(instance: DagsterInstance, run_id: str) -> str:
    """What stopped a run of this process from outside, in words; empty where nothing did."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED):
        return IN_THE_UI
    return signalled() or (CTRL_C if any(map(_interrupted, _failures(instance, run_id))) else "")


def failure_message(instance: DagsterInstance, run_id: str) -> str:
    """The failed steps of a run, each with the reason that it raised, without the traceback; steps with one reason
    share a line. What lies below that reason (an error of a library) names no table and no file."""
    reasons: dict[str, list[str]] = {}
    for event in _failures(instance, run_id):
        error = event.step_failure_data.error
        while error is not None and error.cause is not None and (error.cls_name or "").startswith(WRAPPERS):
            error = error.cause
        text = (error.message if error else event.message or "").strip().split(": ", 1)[-1]
        if _interrupted(event):
            text = "it was stopped from outside"
        elif error is not None:
            text = faults.in_words(error) or text
        reasons.setdefault(text, []).append((event.step_key or "").replace("__", "/"))
    return (
        "\n".join(f"{', '.join(steps)}: {reason}" for reason, steps in reasons.items())
        or "the run ended before a step could fail (killed, canceled, or refused)"
    )


def _failures(instance: DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE)
    return [entry.get_dagster_event() for entry in entries]


def _interrupted(event: dg.DagsterEvent) -> bool:
    return event.step_failure_data.error_source is ErrorSource.INTERRUPT


def training_failure(instance: DagsterInstance, as_of: str) -> str:
    """Why the newest training of an as-of date failed; empty where it succeeded or none ran."""
    runs = instance.get_runs(RunsFilter(job_name=TRAINING, tags={PARTITION_TAG: as_of}), limit=1)
    if runs and runs[0].status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        return failure_message(instance, runs[0].run_id)
    return ""
