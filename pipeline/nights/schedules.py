"""Automation of the jobs: two schedules and a sensor for each way in which a run can end, all off by default; and a
sensor, on by default, that frees the places of dead runs.

At a tick, `nightly` asks for the nights that need no training and `training` for a training that is due. A sensor goes
on where a run ended: the night after its training, whether that succeeded or not, then the next date that waits. So a
night never runs before the training that is due for its date, nor a training before the nights of earlier dates: a
version that knows their future would score them. A run is asked for only where none of its job and date is queued or
running; the number of the attempt is in its key, so that what failed is tried again at the next tick, and at once where
only its process died: such a run keeps its place until its next attempt is queued, before the later dates that wait.
Source: ARCHITECTURE §3.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import InstigatorType

from pipeline.home.folder import Home
from pipeline.resources.tracking import HELD, RegisteredVersion, Tracking
from pipeline.runs.in_process import COMMAND_TAG, NIGHTLY, PARTITION_TAG, TRAINING
from pipeline.runs.signs import DEAD_TAG, clear_dead_runs, dead_runs
from pipeline.settings import Settings
from pipeline.training.decision import decide
from pipeline.upkeep.lost_registry import lost_registry

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

PRIORITY_TAG = "dagster/priority"
"""Dagster's tag: a run with a higher number leaves the queue first."""
UNTIL_TAG = "ple/until"
"""Run tag: the date of the tick that began a catch-up; the sensors go on until that as-of date."""
IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
ENDED = {
    "success": DagsterRunStatus.SUCCESS,
    "failure": DagsterRunStatus.FAILURE,
    "cancellation": DagsterRunStatus.CANCELED,
}


AFTER = "after_"
"""The sensors of a run's end are named by it and the way in which it ended."""
DEATHS = 3
"""A run whose process died is tried again at once, until its job and date have died so often."""
DEAD_RUNS_EVERY = 30
"""Seconds between two looks for dead runs."""


@dataclass(frozen=True)
class NextRuns:
    """As-of dates whose night may run now, oldest first, and the one whose training must run now, if any."""

    nightly: tuple[str, ...]
    training: str | None


def next_runs(
    waiting: Sequence[str],
    running: dict[str, Collection[str]],
    champion: RegisteredVersion | None,
    retrain_after_days: int,
    trained: Collection[str] = (),
    challenger: RegisteredVersion | None = None,
) -> NextRuns:
    """The runs to ask for.

    Args:
        waiting: as-of dates without scores, oldest first.
        running: job → as-of dates of its runs that are queued or running.
        champion: the standing champion.
        retrain_after_days: age at which a champion is too old.
        trained: as-of dates whose training has ended, in whatever way: it is not asked for again.
        challenger: the version trained last, where it is not the champion.
    """
    nightly: list[str] = []
    busy = False
    for day in waiting:
        if day in running[TRAINING]:
            break
        if day in running[NIGHTLY]:
            busy = True
        elif day not in trained and decide(champion, date.fromisoformat(day), retrain_after_days, challenger).due:
            return NextRuns(tuple(nightly), None if nightly or busy else day)
        elif champion is None and challenger is not None and challenger.status == HELD:
            break  # nothing may score before a person has promoted it
        else:
            nightly.append(day)
    return NextRuns(tuple(nightly), None)


def to_ask_for(
    instance: DagsterInstance,
    tracking: Tracking,
    settings: Settings,
    waiting: Sequence[str],
    trained: Collection[str] = (),
) -> NextRuns:
    """`next_runs` of a deployment as it stands."""
    return next_runs(
        waiting,
        in_progress(instance),
        tracking.champion(),
        settings.retrain_after_days,
        trained,
        tracking.challenger(),
    )


def in_progress(instance: DagsterInstance) -> dict[str, Collection[str]]:
    """Job → as-of dates of its runs that are queued or running."""
    return {
        job: {
            run.tags.get(PARTITION_TAG, "") for run in instance.get_runs(RunsFilter(job_name=job, statuses=IN_PROGRESS))
        }
        for job in (NIGHTLY, TRAINING)
    }


def request(instance: DagsterInstance, job: str, day: str, until: str) -> dg.RunRequest:
    """The next run of a job for a date. Its key is the same until a run exists, another one for the next attempt, which
    goes before the later dates that are in the queue already."""
    attempt = instance.get_runs_count(RunsFilter(job_name=job, tags={PARTITION_TAG: day})) + 1
    first = {PRIORITY_TAG: "1"} if attempt > 1 else {}
    return dg.RunRequest(run_key=f"{day}#{attempt}", job_name=job, partition_key=day, tags={UNTIL_TAG: until, **first})


def tried_again(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a run that ended is to be made again at once: its process died, and that has not happened too often."""
    return DEAD_TAG in run.tags and _may_die(instance, run)


def _may_die(instance: DagsterInstance, run: DagsterRun) -> bool:
    tags = {PARTITION_TAG: run.tags[PARTITION_TAG], DEAD_TAG: "true"}
    died = instance.get_runs(RunsFilter(job_name=run.job_name, tags=tags))
    return len({run.run_id, *(other.run_id for other in died)}) < DEATHS


def to_retry(instance: DagsterInstance, home: Home, partitions: dg.DailyPartitionsDefinition) -> list[DagsterRun]:
    """The dead runs of the automation that keep their place for now: they are to be made again before the dates that
    wait in the queue, and no next attempt is there yet."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    if not any(state.name == f"{AFTER}failure" and state.is_running for state in states):
        return []

    def is_kept(run: DagsterRun) -> bool:
        if UNTIL_TAG not in run.tags or run.status is DagsterRunStatus.CANCELING:
            return False
        day = run.tags[PARTITION_TAG]
        if not unscored(instance, partitions, day, day) or not _may_die(instance, run):
            return False
        same = RunsFilter(job_name=run.job_name, tags={PARTITION_TAG: day}, statuses=IN_PROGRESS)
        return all(other.run_id == run.run_id for other in instance.get_runs(same))

    return [run for run in dead_runs(instance, home) if is_kept(run)]


def unscored(instance: DagsterInstance, partitions: dg.DailyPartitionsDefinition, first: str, last: str) -> list[str]:
    """As-of dates from `first` to `last` that have no scores, oldest first."""
    scored = instance.get_materialized_partitions(dg.AssetKey("scores"))
    return [key for key in partitions.get_partition_keys() if first <= key <= last and key not in scored]


def schedules(partitions: dg.DailyPartitionsDefinition, settings: Settings) -> list[dg.ScheduleDefinition]:
    """`nightly` and `training`: both look at the unscored as-of dates of the last `catch_up_days` days."""

    def schedule(name: str, description: str) -> dg.ScheduleDefinition:
        @dg.schedule(
            name=name,
            job_name=name,
            cron_schedule=settings.schedule_cron,
            execution_timezone=partitions.timezone,
            default_status=dg.DefaultScheduleStatus.STOPPED,
            description=description,
        )
        def tick(context: dg.ScheduleEvaluationContext, tracking: Tracking) -> Iterator[dg.RunRequest | dg.SkipReason]:
            home = Home(settings.home)
            kept = [run.run_id for run in to_retry(context.instance, home, partitions)]
            clear_dead_runs(context.instance, home, but=kept)  # else their dates would be made after later ones
            day = context.scheduled_execution_time.date()
            oldest = (day - timedelta(days=settings.catch_up_days - 1)).isoformat()
            waiting = unscored(context.instance, partitions, oldest, day.isoformat())
            if not waiting:
                last = partitions.get_last_partition_key()
                yield dg.SkipReason(f"No as-of date since {oldest} waits for scores; the last of the data is {last}.")
                return
            if lost := lost_registry(tracking, home.lake):
                yield dg.SkipReason(lost)
                return
            runs = to_ask_for(context.instance, tracking, settings, waiting)
            days = runs.nightly if name == NIGHTLY else [runs.training] if runs.training else []
            if not days:
                first = f"{runs.training} trains first" if runs.training else "no training may start yet"
                yield dg.SkipReason(f"waiting for scores: {', '.join(waiting)}; {first}, or their runs are in progress")
            for key in days:
                yield request(context.instance, name, key, day.isoformat())

        return tick

    return [
        schedule(
            NIGHTLY, f"Unscored as-of dates of the last {settings.catch_up_days} days that need no training first."
        ),
        schedule(TRAINING, "The oldest unscored as-of date, where a training is due for it. The sensors go on."),
    ]


def sensors(
    jobs: "Sequence[UnresolvedAssetJobDefinition]", partitions: dg.DailyPartitionsDefinition, settings: Settings
) -> list[dg.SensorDefinition]:
    """`after_success`, `after_failure`, `after_cancellation` of a run of one of the two jobs; `dead_runs`."""

    def sensor(way: str, status: DagsterRunStatus) -> dg.SensorDefinition:
        @dg.run_status_sensor(
            run_status=status,
            name=f"{AFTER}{way}",
            monitored_jobs=[*jobs],
            request_jobs=[*jobs],
            default_status=dg.DefaultSensorStatus.STOPPED,
            description=f"After the {way} of a training its night, after that of a night the next date that waits.",
        )
        def after(context: dg.RunStatusSensorContext, tracking: Tracking) -> Iterator[dg.RunRequest | dg.SkipReason]:
            run = context.dagster_run
            ended = run.tags.get(PARTITION_TAG)
            if ended is None or COMMAND_TAG in run.tags:
                yield dg.SkipReason("not a run of an as-of date, or one of the command `ple`, which goes on by itself")
                return
            until = run.tags.get(UNTIL_TAG, ended)
            again = tried_again(context.instance, run)
            trained = {ended} if run.job_name == TRAINING and not again else set()
            waiting = unscored(context.instance, partitions, ended, until)
            if run.job_name == NIGHTLY and not again:
                waiting = [key for key in waiting if key != ended]  # a night that failed is not repeated here
            if lost := lost_registry(tracking, Home(settings.home).lake):
                yield dg.SkipReason(lost)
                return
            runs = to_ask_for(context.instance, tracking, settings, waiting, trained)
            chosen = [(NIGHTLY, key) for key in runs.nightly] + ([(TRAINING, runs.training)] if runs.training else [])
            if not chosen:
                yield dg.SkipReason(f"no later as-of date up to {until} can run now")
            for job, key in chosen:
                yield request(context.instance, job, key, until)

        return after

    @dg.sensor(
        name="dead_runs",
        jobs=[*jobs],
        minimum_interval_seconds=DEAD_RUNS_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Fails the runs whose process is gone, so that they block no other. Where {AFTER}failure is on, "
        "one of the automation is asked for again first, so that its date goes before later ones.",
    )
    def dead(context: dg.SensorEvaluationContext, tracking: Tracking) -> Iterator[dg.RunRequest | dg.SkipReason]:
        instance, home = context.instance, Home(settings.home)
        kept = to_retry(instance, home, partitions)
        if kept and lost_registry(tracking, home.lake):
            kept = []
        cleared = clear_dead_runs(instance, home, but=[run.run_id for run in kept])
        if not kept:
            yield dg.SkipReason(f"failed and freed: {', '.join(cleared)}" if cleared else "every run's process lives")
        for run in kept:
            instance.add_run_tags(run.run_id, {DEAD_TAG: "true"})
            yield request(instance, run.job_name, run.tags[PARTITION_TAG], run.tags[UNTIL_TAG])

    return [*(sensor(way, status) for way, status in ENDED.items()), dead]
