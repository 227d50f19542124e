"""How a run that the daemon, the UI or a Dagster backfill starts is executed: in its process, one at a time in a home.

A run that finds the home locked waits, and says for whom. A whole night or training that another run finished in the
meantime is not made again. Runs that `ple` executes itself hold the same lock (`runs.one_at_a_time`).
"""

import time
from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterEvent, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts
from dagster._core.events import EngineEventData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from pipeline.home.folder import Home
from pipeline.home.locks import Holder
from pipeline.resources.publication import published_words
from pipeline.runs.in_process import NIGHTLY, PARTITION_TAG, TRAINING, night_lock
from pipeline.runs.signs import give_sign, is_dead_or_finished
from pipeline.stopping import BY_SIGTERM, IN_THE_UI, Stopped

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan

MADE_TAG = "ple/made_by"
"""Run tag: the run that did the work while this one waited."""
LOOKS_EVERY = 1.0
"""Seconds between two attempts to take the home's lock."""


def one_at_a_time_executor(home: Home, mlflow_uri: str | None) -> dg.ExecutorDefinition:
    """The executor of every job, whoever starts it.

    Args:
        mlflow_uri: of the settings.
    """

    @dg.executor(name="one_at_a_time")
    def one_at_a_time(_: dg.InitExecutorContext) -> OneAtATime:
        return OneAtATime(home, mlflow_uri)

    return one_at_a_time


class OneAtATime(InProcessExecutor):
    """Executes the steps in this process, which holds the home's lock meanwhile."""

    def __init__(self, home: Home, mlflow_uri: str | None) -> None:
        super().__init__(RetryMode.ENABLED)
        self._home, self._mlflow_uri = home, mlflow_uri

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[DagsterEvent]:
        """Wait for the home, then execute what is left to do; a run that is stopped meanwhile says by what."""
        try:
            yield from self._execute(plan_context, execution_plan)
        except (DagsterExecutionInterruptedError, KeyboardInterrupt):
            yield _says(plan_context, self._stopped(plan_context.dagster_run, plan_context.instance))
            raise

    def _stopped(self, run: DagsterRun, instance: DagsterInstance) -> str:
        now = instance.get_run_by_id(run.run_id)
        canceled = now is not None and now.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)
        day = run.tags.get(PARTITION_TAG)
        published = published_words(self._home.lake, date.fromisoformat(day)) if day else "nothing published is lost"
        return str(Stopped(IN_THE_UI if canceled else BY_SIGTERM, _what(run), published))

    def _execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[DagsterEvent]:
        run, instance = plan_context.dagster_run, plan_context.instance
        give_sign(self._home, run.run_id)  # kept until the process ends: the run's end is written after this returns
        _refuse_given_up(instance, run.run_id)
        what = _what(run)
        with night_lock(self._home) as lock:
            told = None
            while not lock.acquire(what, run.run_id):
                if (holder := lock.holder()) is not None and holder != told:
                    yield _says(plan_context, f"waits for the home: {holder.words()} holds it")
                    told = holder
                with raise_execution_interrupts():
                    time.sleep(LOOKS_EVERY)
            _refuse_given_up(instance, run.run_id)
            _await_end(instance, self._home, lock.before)
            if (other := made_meanwhile(instance, run, execution_plan.step_keys_to_execute)) is not None:
                instance.add_run_tags(run.run_id, {MADE_TAG: other})
                yield _says(
                    plan_context, f"nothing is left to do: run {other[:8]} made the {what} while this one waited"
                )
                return
            self._home.follow(self._mlflow_uri)
            yield from super().execute(plan_context, execution_plan)


def _what(run: DagsterRun) -> str:
    return f"{run.job_name} of {run.tags.get(PARTITION_TAG, 'no date')}"


def _refuse_given_up(instance: DagsterInstance, run_id: str) -> None:
    """A run that was taken for dead, or canceled, before its process got here does nothing."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        raise dg.Failure(f"run {run_id[:8]} was given up before it began", allow_retries=False)


def _await_end(instance: DagsterInstance, home: Home, before: Holder | None) -> None:
    """Wait until the run that held the home before has written how it ended: it lets go of the lock just before."""
    while before is not None and before.run_id and not is_dead_or_finished(instance, home, before.run_id):
        with raise_execution_interrupts():
            time.sleep(LOOKS_EVERY / 10)


def _says(plan_context: "PlanOrchestrationContext", words: str) -> DagsterEvent:
    return DagsterEvent.engine_event(plan_context, words, EngineEventData())


def made_meanwhile(instance: DagsterInstance, run: DagsterRun, steps: Sequence[str]) -> str | None:
    """The run that finished these steps of the same job and date after this run was asked for; None where none did.

    An end that lies in the future was written before the clock was set back: whether it came after is not known.
    """
    day = run.tags.get(PARTITION_TAG)
    if run.job_name not in (NIGHTLY, TRAINING) or day is None:
        return None
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    asked = record.create_timestamp.timestamp()
    same = RunsFilter(job_name=run.job_name, tags={PARTITION_TAG: day}, statuses=[DagsterRunStatus.SUCCESS])
    for record in instance.get_run_records(same):
        other = record.dagster_run
        same_assets = (other.asset_selection or None) == (run.asset_selection or None)
        did = same_assets and set(steps) <= set(other.step_keys_to_execute or steps)
        if did and MADE_TAG not in other.tags and asked < (record.end_time or 0.0) <= time.time():
            return other.run_id
    return None
