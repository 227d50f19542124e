"""What the runs of a date did, read from the log of real runs of toys."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterInstance

from pipeline.monitoring.record import Check, newest

DAYS = dg.StaticPartitionsDefinition(["2018-01-01", "2018-01-02"])


def toys(fails: bool) -> dg.JobDefinition:
    @dg.asset(
        partitions_def=DAYS,
        check_specs=[dg.AssetCheckSpec("wide", asset="table"), dg.AssetCheckSpec("long", asset="table")],
    )
    def table() -> Iterator[dg.MaterializeResult]:
        yield dg.MaterializeResult(
            metadata={"dagster/row_count": 7},
            check_results=[
                dg.AssetCheckResult(
                    check_name="wide",
                    passed=False,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"columns": ["a", "b"], "table": dg.MetadataValue.md("| x |")},
                ),
                dg.AssetCheckResult(check_name="long", passed=True),
            ],
        )

    @dg.asset(partitions_def=DAYS, deps=[table], key=["features", "x"])
    def after() -> None:
        if fails:
            raise dg.Failure("no disk", allow_retries=False)

    job = dg.define_asset_job("nightly", selection=dg.AssetSelection.all(), executor_def=dg.in_process_executor)
    return dg.Definitions(assets=[table, after], jobs=[job]).resolve_job_def("nightly")


@pytest.mark.parametrize("fails", [False, True])
def test_steps_checks_and_the_reason_are_those_of_the_newest_run(fails: bool, instance: DagsterInstance) -> None:
    toys(fails).execute_in_process(partition_key="2018-01-01", instance=instance, raise_on_error=False)
    record = newest(instance, "nightly", "2018-01-01")
    assert record is not None
    assert [(step.name, step.rows, step.failed) for step in record.steps] == [
        ("table", 7, False),
        ("features/x", None, fails),
    ]
    assert all(step.seconds >= 0 for step in record.steps)
    assert record.checks == [Check("table", "wide", False, "columns: a, b")]
    assert record.failed is fails
    assert record.failure == ("features/x: no disk" if fails else "")
    assert record.seconds is not None
    assert newest(instance, "training", "2018-01-01") is newest(instance, "nightly", "2018-01-02") is None
