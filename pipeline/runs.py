"""Runs of a job in this process: one at a time in a home, failures in words."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from pipeline.home import Home
from pipeline.locks import Lock
from pipeline.signs import sign_of_life

NIGHTLY, TRAINING = "nightly", "training"
"""The two jobs of an as-of date."""
PROMOTE, ROLLBACK = "promote", "rollback"
"""The two jobs by which a person decides about the champion."""
COMMAND_TAG = "ple/command"
"""Run tag: a command executes the run itself and goes on by itself; the sensors leave it alone."""
PARTITION_TAG = "dagster/partition"
LOCATION_TAG = ".dagster/repository"
"""Dagster's tag for a run's code location: with it the UI lists the run under the job and on the timeline."""


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


def run_job(
    held: HeldHome,
    definitions: dg.Definitions,
    instance: DagsterInstance,
    job: str,
    as_of: date | None,
    config: Mapping[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process, for one as-of date where it has any. A failure is in the result, not raised."""
    run_id = str(uuid.uuid4())
    held.lock.note(f"{job} of {as_of}" if as_of else job, run_id)
    with sign_of_life(held.home, run_id):
        return definitions.resolve_job_def(job).execute_in_process(
            run_config=config,
            partition_key=as_of.isoformat() if as_of else None,
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            tags={COMMAND_TAG: "true", LOCATION_TAG: "__repository__@ple"},
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
