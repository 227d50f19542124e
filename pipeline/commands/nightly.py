"""`ple nightly` and `ple train`: run the jobs for one as-of date in this process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.common import (
    as_of_option,
    covered_day,
    customers_option,
    data_dir_option,
    dataset_option,
    deployment,
)
from pipeline.home import Home
from pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that runs a job."""
    for option in (customers_option, data_dir_option, dataset_option, as_of_option):
        command = option(command)
    return command


@click.command()
@run_options
def nightly(as_of: str | None, dataset: str | None, data_dir: Path | None, customers: int | None) -> None:
    """Publish the scores of one as-of date.

    Runs two jobs, one after the other: `training`, only where one is due (there is no champion, or the champion is
    older than retrain_after_days), then `nightly` (ingestion, features, scores, summary). A training that fails or
    whose candidate is refused does not cost the night: the standing champion scores, and the failure is printed in red
    and noted in the summary. The exit status is 0 when scores were published, else 1. A night that was killed is taken
    up by the next call.
    """
    settings, home = deployment(dataset=dataset, data_dir=data_dir, customers=customers)
    sys.exit(_nightly(settings, home, covered_day(settings, as_of)))


def _nightly(settings: Settings, home: Home, day: date) -> int:
    import dagster as dg

    from pipeline.definitions import build_definitions, build_resources
    from pipeline.monitoring.terminal import print_summary
    from pipeline.night import run_night

    click.echo(f"nightly · {settings.dataset} · as of {day} · home {home.root}", err=True)
    tracking = build_resources(settings)["tracking"]
    with _instance(home) as instance:
        try:
            outcome = run_night(build_definitions(settings), instance, tracking, day, settings.retrain_after_days, _say)
        except dg.Failure as error:
            raise click.ClickException(str(error.description)) from None
    if not outcome.published:
        reasons = "\n".join(reason for reason in (outcome.training_failure, outcome.failure) if reason)
        _red(f"\nThe night failed; no scores were published.\n{reasons}")
        return 1
    print_summary(home, day)
    if outcome.training_failure:
        _red(f"\nThe training that was due failed; the standing champion scored.\n{outcome.training_failure}")
    return 0


@click.command()
@run_options
def train(as_of: str | None, dataset: str | None, data_dir: Path | None, customers: int | None) -> None:
    """Train a model for one as-of date, due or not, and promote it if it passes.

    Runs the job `training`: decision, fitted state, training set, model, evaluation, registered version, champion. A
    date whose future the champion knows is refused. Exit status 1 when it failed or the candidate was refused.
    """
    settings, home = deployment(dataset=dataset, data_dir=data_dir, customers=customers)
    sys.exit(_train(settings, home, covered_day(settings, as_of)))


def _train(settings: Settings, home: Home, day: date) -> int:
    from pipeline.definitions import build_definitions
    from pipeline.runs import TRAINING, failure_message, run_job

    click.echo(f"training · {settings.dataset} · as of {day} · home {home.root}", err=True)
    with _instance(home) as instance:
        result = run_job(build_definitions(settings), instance, TRAINING, day)
        if not result.success:
            _red(f"\nThe training failed.\n{failure_message(instance, result.run_id)}")
            return 1
    return 0


@contextmanager
def _instance(home: Home) -> "Iterator[DagsterInstance]":
    """The home's Dagster instance, locked for this process, with dead runs cleared."""
    import dagster as dg

    from pipeline.runs import HomeIsBusy, clear_dead_runs, one_at_a_time

    try:
        with one_at_a_time(home), dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            for run_id in clear_dead_runs(instance):
                _say(f"run {run_id[:8]} was killed; its place is freed and its work is taken up")
            yield instance
    except HomeIsBusy as error:
        raise click.ClickException(str(error)) from None


def _say(text: str) -> None:
    click.echo(f"  ! {text}" if "failed" in text or "killed" in text else f"  {text}", err=True)


def _red(text: str) -> None:
    click.secho(text, fg="red", err=True)
