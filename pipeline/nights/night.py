"""One night: the job `training` first where it is due, then the job `nightly`.

A training that fails or is refused does not cost the night: the standing champion scores. Only without any champion
there is nothing to score with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import dagster as dg
from dagster import DagsterInstance

from pipeline.resources.tracking import HELD, Tracking
from pipeline.runs.in_process import NIGHTLY, TRAINING, HeldHome, failure_message, run_job
from pipeline.training.decision import decide, waiting
from pipeline.upkeep.lost_registry import lost_registry


@dataclass(frozen=True)
class Outcome:
    """Outcome of a night: whether scores were published, and the reasons of what failed (empty where nothing did)."""

    published: bool
    training_failure: str = ""
    failure: str = ""

    @property
    def reasons(self) -> str:
        """The reasons, a line each."""
        return "\n".join(reason for reason in (self.training_failure, self.failure) if reason)


def run_night(
    held: HeldHome,
    definitions: dg.Definitions,
    instance: DagsterInstance,
    tracking: Tracking,
    as_of: date,
    retrain_after_days: int,
    say: Callable[[str], None],
) -> Outcome:
    """Train where it is due, then score. `say` gets one line before each job.

    A killed night needs no clean-up: a champion that was promoted before the kill makes the training no longer due.
    """
    made = decide(tracking.champion(), as_of, retrain_after_days, tracking.challenger())
    training_failure = ""
    if made.due and (lost := lost_registry(tracking, held.home.lake)):
        return Outcome(False, failure=lost)
    if made.due:
        say(f"training first: {made.reason}")
        result = run_job(held, definitions, instance, TRAINING, as_of)
        if not result.success:
            training_failure = failure_message(instance, result.run_id)
            if tracking.champion() is None:
                return Outcome(False, training_failure)
            say(f"! the training failed; {made.champion} goes on scoring")
    else:
        say(f"scoring only: {made.reason}")
    challenger = tracking.challenger()
    if challenger is not None and challenger.status == HELD:
        say(f"! {waiting(challenger)}")
        if tracking.champion() is None:
            return Outcome(False, failure=f"there is no champion: {waiting(challenger)}")
    result = run_job(held, definitions, instance, NIGHTLY, as_of)
    failure = "" if result.success else failure_message(instance, result.run_id)
    return Outcome(result.success, training_failure, failure)
