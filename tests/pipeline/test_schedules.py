"""The schedule asks for every due night that has no scores."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from pipeline.definitions import build_definitions
from pipeline.settings import Settings


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, at: datetime) -> dg.ScheduleExecutionData:
    schedule = definitions.resolve_schedule_def("nightly")
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at, repository_def=definitions.get_repository_def()
    )
    return schedule.evaluate_tick(context)


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    return build_definitions(Settings(home=tmp_path, catch_up_days=3))


def test_missed_nights_are_caught_up_and_done_ones_left(definitions: dg.Definitions) -> None:
    at = datetime(2017, 10, 5, 3, tzinfo=ZoneInfo("America/New_York"))
    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key="scores", partition="2017-10-04"))
        data = tick(definitions, instance, at)
        assert data.run_requests is not None
        assert [r.partition_key for r in data.run_requests] == ["2017-10-03", "2017-10-05"]
        assert [r.run_key for r in data.run_requests] == ["2017-10-03@2017-10-05", "2017-10-05@2017-10-05"]


def test_a_data_set_that_has_ended_asks_for_nothing(definitions: dg.Definitions) -> None:
    at = datetime(2026, 11, 21, 3, tzinfo=ZoneInfo("America/New_York"))
    with dg.instance_for_test() as instance:
        data = tick(definitions, instance, at)
        assert not data.run_requests
        assert data.skip_message is not None
        assert "2018-01-01" in data.skip_message
