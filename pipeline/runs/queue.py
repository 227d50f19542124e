"""The state of the queue: what runs, what waits, what is dead, and whether anybody will take what waits."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from pipeline.home.folder import Home
from pipeline.home.locks import Holder
from pipeline.runs.in_process import night_lock
from pipeline.runs.signs import WITH_PROCESS, dead_runs

COORDINATOR = "QUEUED_RUN_COORDINATOR"
"""Dagster's name of the daemon that takes runs from the queue."""
STUCK_AFTER = timedelta(minutes=10)
"""The oldest run waits so long in a queue that stands still although nothing runs."""


@dataclass(frozen=True)
class Queue:
    """Attributes:
    running: ids of the unfinished runs whose process lives, or is about to.
    dead: ids of those whose process is gone.
    waiting: number of runs in the queue.
    oldest: how long the first of them has waited.
    taken: whether a living daemon takes runs from the queue.
    holder: who holds the home's lock.
    """

    running: tuple[str, ...]
    dead: tuple[str, ...]
    waiting: int
    oldest: timedelta
    taken: bool
    holder: Holder | None

    def problems(self) -> list[str]:
        """What is wrong and what to do, one line each; empty where the queue moves or nothing waits."""
        found = []
        if self.dead:
            ids = ", ".join(run_id[:8] for run_id in self.dead)
            found.append(
                f"the process of {ids} is gone: `ple nightly`, `ple ui` or a running daemon frees their places"
            )
        if self.waiting and not self.taken:
            found.append(f"{self.waiting} runs wait and no daemon takes them: start `ple ui`, or cancel them in the UI")
        elif self.waiting and not self.running and not self.dead and self.oldest > STUCK_AFTER:
            since = f"{self.waiting} runs wait, the first for {int(self.oldest.total_seconds() / 60)} minutes"
            found.append(f"{since}, although nothing runs: start `ple ui` anew")
        return found


def queue_of(instance: DagsterInstance, home: Home) -> Queue:
    """The present state; nothing is changed."""
    dead = tuple(run.run_id for run in dead_runs(instance, home))
    unfinished = instance.get_runs(RunsFilter(statuses=WITH_PROCESS))
    waiting = instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.QUEUED]), ascending=True)
    since = waiting[0].create_timestamp if waiting else datetime.now(UTC)
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    daemon = instance.get_daemon_statuses([COORDINATOR]).get(COORDINATOR)
    return Queue(
        running=tuple(run.run_id for run in unfinished if run.run_id not in dead),
        dead=dead,
        waiting=len(waiting),
        oldest=datetime.now(UTC) - since,
        taken=bool(daemon and daemon.healthy),
        holder=night_lock(home).holder(),
    )
