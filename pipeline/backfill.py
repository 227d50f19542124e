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

from pipeline.home import Home
from pipeline.night import Outcome, run_night
from pipeline.queue import queue_of
from pipeline.resources.tracking import Tracking
from pipeline.runs import HeldHome, night_lock
from pipeline.schedules import unscored
from pipeline.signs import clear_dead_runs

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
    """A backfill of one deployment. `say` gets a line about the progress."""

    home: Home
    definitions: dg.Definitions
    instance: DagsterInstance
    tracking: Tracking
    retrain_after_days: int
    say: Callable[[str], None]

    def run(self, days: Sequence[date]) -> Outcome | None:
        """Make the nights of some dates. Returns the outcome of the one that failed, None where none did."""
        began = time.monotonic()
        for done, day in enumerate(days):
            self.say(f"{done + 1} of {len(days)}: {day}{_left(began, done, len(days))}")
            with self._turn(day) as held:
                outcome = run_night(
                    held, self.definitions, self.instance, self.tracking, day, self.retrain_after_days, self.say
                )
            if not outcome.published:
                return outcome
            if outcome.training_failure:
                self.say(f"! the training that was due for {day} failed: {outcome.training_failure}")
        return None

    @contextmanager
    def _turn(self, day: date) -> Iterator[HeldHome]:
        """The home's lock, once no other run wants it."""
        told = ""
        with night_lock(self.home) as lock:
            while (others := self._others()) or not lock.acquire(f"ple backfill of {day}"):
                if others and others != told:
                    self.say(f"waits: {others}")
                told = others
                time.sleep(LOOKS_EVERY)
            yield HeldHome(self.home, lock)

    def _others(self) -> str:
        """Who goes first, in words; empty where nobody does."""
        for run_id in clear_dead_runs(self.instance, self.home):
            self.say(f"! run {run_id[:8]} was killed; its place is freed")
        queue = queue_of(self.instance, self.home)
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
