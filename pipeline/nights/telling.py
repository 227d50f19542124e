"""Sensors that tell people of runs that the daemon started, and of nights that are late. They start nothing, and are on
from the beginning. Commands tell of their own runs.

What a sensor cannot notice is the death of its own daemon (`monitoring/lateness.py`).
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from logging import Logger
from typing import TYPE_CHECKING

import dagster as dg

from pipeline.home.folder import Home
from pipeline.monitoring import alerts
from pipeline.monitoring.lateness import late_night
from pipeline.monitoring.night_report import Reporter
from pipeline.monitoring.summary import TRAINING_FAILED, read_summary
from pipeline.nights.schedules import tried_again
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import Tracking
from pipeline.runs.in_process import COMMAND_TAG, NIGHTLY, PARTITION_TAG, failure_message
from pipeline.settings import Settings, read_environment

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

LOOKS_EVERY = 600
"""Seconds between two looks for a night that is late."""


def telling_sensors(
    jobs: "Sequence[UnresolvedAssetJobDefinition]", partitions: dg.DailyPartitionsDefinition, settings: Settings
) -> list[dg.SensorDefinition]:
    """`tell_failure`, `tell_night`, `tell_late`."""
    on = dg.DefaultSensorStatus.RUNNING

    def tell(found: "Sequence[alerts.Alert]", day: str, published: bool, log: Logger) -> None:
        environment, when = read_environment(), date.fromisoformat(day)
        alerts.tell(found, when, published, settings.home, settings.alerts, environment, log.warning)

    @dg.run_failure_sensor(
        name="tell_failure",
        monitored_jobs=[*jobs],
        default_status=on,
        description="Tells of a night or a training of the daemon that failed, and writes the night's report. It "
        "starts nothing.",
    )
    def tell_failure(context: dg.RunFailureSensorContext, lake: Lake, tracking: Tracking) -> dg.SkipReason | None:
        run = context.dagster_run
        day = of_daemon(run)
        if day is None or tried_again(context.instance, run):
            return dg.SkipReason(
                "a run of no date, of the command `ple`, which tells by itself, or one that is tried again"
            )
        reason = failure_message(context.instance, run.run_id)
        if run.job_name == NIGHTLY:
            Reporter(settings, lake, tracking, context.instance, context.log.warning).try_to_write(day, reason)
        cause = alerts.NIGHT_FAILED if run.job_name == NIGHTLY else TRAINING_FAILED
        tell([alerts.Alert(cause, reason)], day, False, context.log)
        return None

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="tell_night",
        monitored_jobs=[job for job in jobs if job.name == NIGHTLY],
        default_status=on,
        description="Tells what must not be overlooked of a night of the daemon that was published. It starts nothing.",
    )
    def tell_night(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        day = of_daemon(context.dagster_run)
        if day is None:
            return dg.SkipReason("a run of no date, or of the command `ple`, which tells by itself")
        summary = read_summary(Home(settings.home), date.fromisoformat(day))
        tell(alerts.of_night(summary), day, True, context.log)
        return None

    @dg.sensor(
        name="tell_late",
        minimum_interval_seconds=LOOKS_EVERY,
        default_status=on,
        description="Tells of a date that has no scores hours after its tick. It starts nothing, and cannot see that "
        "the daemon itself is down: `ple doctor --tell` can.",
    )
    def tell_late(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        late = late_night(context.instance, partitions, settings, datetime.now(UTC))
        if late is None:
            return dg.SkipReason("no night is late")
        tell([late.alert], late.day, False, context.log)
        return dg.SkipReason(late.words)

    return [tell_failure, tell_night, tell_late]


def of_daemon(run: dg.DagsterRun) -> str | None:
    """The as-of date of a run that the daemon or the UI started; None of any other."""
    return None if COMMAND_TAG in run.tags else run.tags.get(PARTITION_TAG)
