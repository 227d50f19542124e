"""A deployment of toys with the real executor, schedules and sensors: a night is a line in a file.

    <home>/ran         one line at the start and one at the end of each step: begins|ends, job, as-of date, run
    <home>/champion    as-of date of the champion's training; a training writes it
    <home>/gate        while this file exists no step ends

`definitions` is the code location of a real daemon (`workspace`), `python -m tests.pipeline.toy_nights DATE` a command
like `ple nightly`.
"""

import os
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from pipeline.home.folder import Home
from pipeline.nights.night import run_night
from pipeline.nights.schedules import schedules, sensors
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.runs.executor import one_at_a_time_executor
from pipeline.runs.in_process import HomeIsBusy, one_at_a_time
from pipeline.runs.signs import clear_dead_runs
from pipeline.settings import Settings

CATCH_UP = 3
FIRST = datetime.now(UTC).date() - timedelta(days=10)


class Registry(Tracking):
    """Stands in for MLflow: the champion's training date lies in a file."""

    def champion(self) -> RegisteredVersion | None:
        file = Path(self.artifacts) / "champion"
        if not file.exists():
            return None
        return RegisteredVersion("1", "r", date.fromisoformat(file.read_text()), "s", "toy", Path())

    def challenger(self) -> RegisteredVersion | None:
        return None


def build(home: Path) -> dg.Definitions:
    """The toys of one home, with ticks every minute."""
    partitions = dg.DailyPartitionsDefinition(start_date=FIRST.isoformat(), timezone="UTC", end_offset=1)
    executor = one_at_a_time_executor(Home(home), None)

    def work(context: dg.AssetExecutionContext) -> None:
        def note(word: str) -> None:
            with (home / "ran").open("a") as file:
                file.write(f"{word} {context.job_name} {context.partition_key} {context.run.run_id}\n")

        note("begins")
        while (home / "gate").exists():
            time.sleep(0.05)
        note("ends")

    @dg.asset(key=["training", "champion"], partitions_def=partitions)
    def champion(context: dg.AssetExecutionContext) -> None:
        work(context)
        (home / "champion").write_text(context.partition_key)

    @dg.asset(partitions_def=partitions)
    def scores(context: dg.AssetExecutionContext) -> None:
        work(context)

    jobs = [
        dg.define_asset_job(name, selection=[asset], executor_def=executor)
        for name, asset in {"training": champion, "nightly": scores}.items()
    ]
    settings = Settings(home=home, catch_up_days=CATCH_UP, schedule_cron="* * * * *")
    return dg.Definitions(
        assets=[champion, scores],
        jobs=jobs,
        executor=executor,
        schedules=schedules(partitions, settings),
        sensors=sensors(jobs, partitions, settings),
        resources={"tracking": tracking(home)},
    )


def tracking(home: Path) -> Registry:
    return Registry(uri="", artifacts=str(home), dataset="toy")


@dg.definitions
def definitions() -> dg.Definitions:
    """The toys of the home that the environment names."""
    return build(Path(os.environ["PLE_HOME"]))


def job(name: str, home: str) -> dg.JobDefinition:
    """A job of the toys, as `dg.reconstructable` builds it again."""
    return build(Path(home)).resolve_job_def(name)


def ran(home: Path) -> list[str]:
    """The lines of `<home>/ran`, without the runs."""
    file = home / "ran"
    return [line.rpartition(" ")[0] for line in file.read_text().splitlines()] if file.exists() else []


def main(home: Path, day: date) -> int:
    """What `ple nightly` does."""
    try:
        with (
            one_at_a_time(Home(home), f"toy nightly of {day}") as held,
            dg.DagsterInstance.from_config(str(home / "dagster")) as instance,
        ):
            clear_dead_runs(instance, Home(home))
            return 0 if run_night(held, build(home), instance, tracking(home), day, 7, print).published else 1
    except HomeIsBusy as error:
        print(error)
        return 3


if __name__ == "__main__":
    sys.exit(main(Path(os.environ["PLE_HOME"]), date.fromisoformat(sys.argv[1])))
