"""One night at a time, dead runs cleared, the decision to train."""

from __future__ import annotations

import multiprocessing
import os
from datetime import date
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from pipeline.assets.training import decide
from pipeline.home import Home
from pipeline.night import PID_TAG, NightIsRunning, clear_dead_runs, one_at_a_time, process_mark
from pipeline.resources.tracking import RegisteredVersion, Tracking


def test_two_nights_in_one_home_do_not_run_together(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with one_at_a_time(home), pytest.raises(NightIsRunning, match=str(tmp_path)), one_at_a_time(home):
        pass
    with one_at_a_time(home):
        pass


def _dead_pid() -> int:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    return cast("int", process.pid)


def test_a_run_whose_process_is_gone_is_failed_and_gives_its_slot_back() -> None:
    with dg.instance_for_test(overrides={"concurrency": {"pools": {"default_limit": 1}}}) as instance:

        @dg.op(pool="gpu")
        def train() -> None: ...

        @dg.job
        def job() -> None:
            train()

        marks = {"dead": f"{_dead_pid()}:1.00", "alive": process_mark(os.getpid()) or ""}
        runs = {
            name: instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, tags={PID_TAG: mark})
            for name, mark in marks.items()
        }
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("gpu")
        assert storage.claim_concurrency_slot("gpu", runs["dead"].run_id, "train").is_claimed
        assert not storage.claim_concurrency_slot("gpu", runs["alive"].run_id, "train").is_claimed
        assert clear_dead_runs(instance) == [runs["dead"].run_id]
        statuses = {name: instance.get_run_by_id(run.run_id).status for name, run in runs.items()}
        assert statuses == {"dead": DagsterRunStatus.FAILURE, "alive": DagsterRunStatus.STARTED}
        assert storage.get_concurrency_info("gpu").active_slot_count == 0
        assert storage.claim_concurrency_slot("gpu", runs["alive"].run_id, "train").is_claimed


class _Registry:
    """Stands in for MLflow: a champion trained as of a date, or none."""

    def __init__(self, trained: date | None) -> None:
        self.trained = trained

    def champion(self) -> RegisteredVersion | None:
        if self.trained is None:
            return None
        return RegisteredVersion("3", "run", self.trained, "state", "completejourney", Path())


@pytest.mark.parametrize(
    ("trained", "retrain", "word"),
    [
        (None, True, "no champion"),
        (date(2017, 12, 25), True, "7 days old"),
        (date(2017, 12, 26), False, "6 days old"),
        (date(2018, 2, 1), False, "hindsight"),
    ],
)
def test_a_night_trains_where_the_champion_is_missing_or_old(trained: date | None, retrain: bool, word: str) -> None:
    decision = decide(cast("Tracking", _Registry(trained)), date(2018, 1, 1), retrain_after_days=7)
    assert decision.retrain is retrain
    assert word in decision.reason
