"""One run at a time, dead runs cleared, failures in words."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import cast

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from pipeline.home import Home
from pipeline.runs import PID_TAG, HomeIsBusy, clear_dead_runs, one_at_a_time, process_mark


def test_two_nights_in_one_home_do_not_run_together(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with one_at_a_time(home), pytest.raises(HomeIsBusy, match=str(tmp_path)), one_at_a_time(home):
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
