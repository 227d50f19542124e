"""When nights run by themselves. The schedule is off until somebody turns it on."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from pipeline.settings import Settings


def nightly_schedule(partitions: dg.DailyPartitionsDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """Ask for every as-of date of the last days that is not scored: Dagster's own schedules do not catch up."""
    zone = partitions.timezone

    @dg.schedule(
        name="nightly",
        job_name="nightly",
        cron_schedule=settings.schedule_cron,
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Every due as-of date of the last {settings.catch_up_days} days that has no scores.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        tick = context.scheduled_execution_time.date()
        oldest = (tick - timedelta(days=settings.catch_up_days - 1)).isoformat()
        done = context.instance.get_materialized_partitions(dg.AssetKey("scores"))
        keys = partitions.get_partition_keys()
        due = [key for key in keys if oldest <= key <= tick.isoformat() and key not in done]
        if not due:
            last = partitions.get_last_partition_key()
            yield dg.SkipReason(f"No as-of date since {oldest} waits for scores; the last one of the data is {last}.")
        for key in due:
            yield dg.RunRequest(run_key=f"{key}@{tick.isoformat()}", partition_key=key)

    return nightly
