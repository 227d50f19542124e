"""The clock: daylight saving, and a clock that somebody sets. One night a date, and nothing waits for the clock."""

import os
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from dagster import DagsterRunStatus
from dagster._utils.schedules import schedule_execution_time_iterator

from feature_assets.data.dataset import DatasetConfig
from pipeline import clock
from pipeline.home.folder import Home
from pipeline.monitoring.volume import FOLDER, last_good
from pipeline.nights.schedules import schedules
from pipeline.partitions import as_of_partitions
from pipeline.resources.files import publish_json
from pipeline.resources.lake import Lake
from pipeline.resources.publication import Published
from pipeline.runs.signs import clear_dead_runs
from pipeline.settings import Settings, VolumeLimits
from tests.pipeline.nights.test_schedules import Champion
from tests.pipeline.runs.test_runs import asked_before, launched
from tests.pipeline.toy_nights import ran

CHANGES = {
    "the hour is not there": ("Europe/Berlin", "30 2 * * *", date(2018, 3, 23)),
    "the hour is there twice": ("Europe/Berlin", "30 2 * * *", date(2018, 10, 26)),
    "the usual hour, in spring": ("Europe/Berlin", "0 3 * * *", date(2018, 3, 23)),
    "the usual hour, in autumn": ("America/New_York", "0 1 * * *", date(2018, 11, 2)),
    "midnight is not there": ("America/Sao_Paulo", "0 0 * * *", date(2018, 11, 2)),
    "midnight is there twice": ("America/Sao_Paulo", "0 0 * * *", date(2018, 2, 15)),
    "half an hour": ("Australia/Lord_Howe", "45 1 * * *", date(2018, 4, 1)),
}
NIGHTS = 5


@pytest.mark.parametrize("change", CHANGES)
def test_each_date_has_one_night_however_the_clocks_change(
    change: str, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """Without catching up, so that a tick that is missing or of another date is a night that is missing."""
    zone, cron, first = CHANGES[change]
    partitions = dg.DailyPartitionsDefinition(
        start_date=(first - timedelta(3)).isoformat(), timezone=zone, end_offset=1
    )
    settings = Settings(home=tmp_path, schedule_cron=cron, catch_up_days=1)
    nightly = next(schedule for schedule in schedules(partitions, settings) if schedule.name == "nightly")

    @dg.asset(partitions_def=partitions)
    def scores() -> None: ...

    job = dg.define_asset_job("nightly", selection=[scores])
    tracking = Champion(uri="", artifacts="", dataset="toy", trained=first.isoformat())
    repository = dg.Definitions(assets=[scores], jobs=[job], resources={"tracking": tracking}).get_repository_def()
    began = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone)).timestamp()
    made, ticks = [], schedule_execution_time_iterator(began, nightly.cron_schedule, nightly.execution_timezone)
    for at, _ in zip(ticks, range(NIGHTS), strict=False):
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=at,
            repository_def=repository,
            resources={"tracking": tracking},
        ) as context:
            requests = nightly.evaluate_tick(context).run_requests or []
        for request in requests:
            made.append(request.run_key)
            instance.report_runless_asset_event(dg.AssetMaterialization("scores", partition=request.partition_key))
    assert made == [f"{first + timedelta(days=night)}#1" for night in range(NIGHTS)]


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Africa/Cairo", "Europe/Berlin", "Pacific/Auckland"])
def test_each_date_is_one_partition_in_any_zone(zone: str) -> None:
    known = {"zone": zone, "covers_from": date(2014, 1, 1), "covers_until": date(2018, 12, 31)}
    keys = as_of_partitions(cast("DatasetConfig", SimpleNamespace(**known))).get_partition_keys()
    assert keys == [(date(2014, 1, 2) + timedelta(days=day)).isoformat() for day in range(len(keys))]
    assert keys[-1] == "2018-12-31"


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float, module: str = "pipeline.clock") -> None:
    now = time.time() + seconds
    monkeypatch.setattr(f"{module}.time", SimpleNamespace(time=lambda: now, sleep=time.sleep))


DAY = 86_400.0


def test_no_age_is_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    since = time.time()
    set_clock(monkeypatch, -DAY)
    assert clock.age(since) == pytest.approx(DAY, abs=60)


def test_what_is_published_is_what_was_published_last_whatever_the_files_say(tmp_path: Path) -> None:
    scores = Published(tmp_path, "scores")
    for number in range(3):
        file = scores.publish(pl.DataFrame({"number": [number]}), "2018-01-01")
        for path in (file, scores.resolve("2018-01-01")):
            os.utime(path, (time.time() - number * DAY,) * 2)  # each time the clock had been set back by a day
    assert scores.read("2018-01-01")["number"].to_list() == [2]


def test_what_was_left_before_the_clock_was_set_back_goes_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = Published(tmp_path, "scores")
    for number in range(2):
        scores.publish(pl.DataFrame({"number": [number]}), "2018-01-01")
    assert list(scores.left(3_600)) == []
    for seconds in (-365 * DAY, 365 * DAY):
        set_clock(monkeypatch, seconds)
        assert len(list(scores.left(3_600))) == 1
    set_clock(monkeypatch, -60)
    assert list(scores.left(3_600)) == [], "a reader may have resolved it a minute ago"


def test_a_dead_run_of_the_future_blocks_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.job
    def nothing() -> None: ...

    runs = [instance.create_run_for_job(nothing, status=DagsterRunStatus.NOT_STARTED).run_id for _ in range(2)]
    assert clear_dead_runs(instance, Home(tmp_path)) == []
    set_clock(monkeypatch, -DAY)
    assert set(clear_dead_runs(instance, Home(tmp_path))) == set(runs)


def test_a_night_that_ended_in_the_future_does_not_stand_for_one_that_is_asked_for(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = launched(tmp_path, instance)
    set_clock(monkeypatch, -DAY, "pipeline.runs.executor")
    assert asked_before(instance, first, monkeypatch, tmp_path).success
    assert len(ran(tmp_path)) == 4


def test_a_delivery_of_the_future_is_not_for_ever_the_last_one(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    for name, at in {"old": "2018-01-01", "ahead": "2099-01-01", "new": "2018-01-02"}.items():
        publish_json({"name": name, "at": at}, lake.path(FOLDER, f"{name}.json"))
    found: list[dict[str, Any]] = last_good(lake, "tonight", VolumeLimits(compared=2))
    assert [volume["name"] for volume in found] == ["new", "old"]
