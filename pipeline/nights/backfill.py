"""Backfill: the nights of a range of as-of dates, oldest first, one at a time, each as `ple nightly` would make it.

What is published is left as it is, so that a backfill that was stopped or killed goes on where it was. Between two
nights the home is free, and runs that wait in a queue that a daemon serves go first: a long backfill does not cost
tonight's night. It stops at the first night that fails, because a later night may build on it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg
from dagster import DagsterInstance

from pipeline.deployment import Deployment
from pipeline.nights.night import Outcome
from pipeline.nights.schedules import unscored
from pipeline.nights.told_night import told_night
from pipeline.runs.in_process import HeldHome, night_lock
from pipeline.runs.queue import queue_of
from pipeline.runs.signs import clear_dead_runs

LOOKS_EVERY = 2.0
"""Seconds between two looks whether the home is free."""


def days_to_make(
    instance: DagsterInstance, partitions: dg.DailyPartitionsDefinition, first: date, last: date, again: bool
) -> list[date]:
    """The as-of dates from `first` to `last`, oldest first; without `again` those that have no scores."""
    if again:
        keys = [key for key in partitions.get_partition_keys() if first.isoformat() <= key <= last.isoformat()]
    else:
        keys = unscored(instance, partitions, first.isoformat(), last.isoformat())
    return [date.fromisoformat(key) for key in keys]


@dataclass(frozen=True)
class Backfill:
    """A backfill of one deployment.

    Attributes:
        definitions: its jobs.
        say: gets a line about the progress.
        words: for an error outside of the steps of a night.
    """

    deployment: Deployment
    definitions: dg.Definitions
    say: Callable[[str], None]
    words: Callable[[Exception], str]

    def run(self, days: Sequence[date]) -> Outcome | None:
        """Make the nights of some dates. Returns the outcome of the one that failed, None where none did."""
        began = time.monotonic()
        for done, day in enumerate(days):
            self.say(f"{done + 1} of {len(days)}: {day}{_left(began, done, len(days))}")
            with self._turn(day) as held:
                outcome = told_night(held, self.deployment, self.definitions, day, self.say, self.words)
            if not outcome.published:
                return outcome
            if outcome.training_failure:
                self.say(f"! the training that was due for {day} failed: {outcome.training_failure}")
        return None

    @contextmanager
    def _turn(self, day: date) -> Iterator[HeldHome]:
        """The home's lock, once no other run wants it."""
        told = ""
        with night_lock(self.deployment.home) as lock:
            while (others := self._others()) or not lock.acquire(f"ple backfill of {day}"):
                if others and others != told:
                    self.say(f"waits: {others}")
                told = others
                time.sleep(LOOKS_EVERY)
            yield HeldHome(self.deployment.home, lock)

    def _others(self) -> str:
        """Who goes first, in words; empty where nobody does."""
        instance, home = self.deployment.instance, self.deployment.home
        for run_id in clear_dead_runs(instance, home):
            self.say(f"! run {run_id[:8]} was killed; its place is freed")
        queue = queue_of(instance, home)
        if queue.holder is not None:
            return f"{queue.holder.words()} holds the home"
        if queue.running or (queue.waiting and queue.taken):
            return f"{len(queue.running) + queue.waiting} runs of the queue go first"
        return ""


def _left(began: float, done: int, of: int) -> str:
    if not done:
        return ""
    seconds = (time.monotonic() - began) / done * (of - done)
    return f" (about {timedelta(seconds=round(seconds))} left)"
