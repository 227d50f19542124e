"""Shared by the verbs that run a job: options, the locked Dagster instance, messages."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.common import as_of_option, customers_option, data_options
from pipeline.commands.printing import print_json
from pipeline.home.folder import Home
from pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from pipeline.runs.in_process import HeldHome


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that runs a job."""
    return as_of_option(data_options(customers_option(command)))


@contextmanager
def locked_instance(home: Home, what: str) -> "Iterator[tuple[HeldHome, DagsterInstance]]":
    """The home, locked for this process, and its Dagster instance with dead runs cleared."""
    with held_home(home, what) as held, cleared_instance(home) as instance:
        yield held, instance


@contextmanager
def held_home(home: Home, what: str) -> "Iterator[HeldHome]":
    """The home, locked for this process: nothing writes in it meanwhile."""
    from pipeline.runs.in_process import HomeIsBusy, one_at_a_time

    try:
        with one_at_a_time(home, what) as held:
            yield held
    except HomeIsBusy as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def cleared_instance(home: Home) -> "Iterator[DagsterInstance]":
    """The home's Dagster instance, after the runs whose process is gone were failed and their places freed."""
    import dagster as dg

    from pipeline.runs.signs import clear_dead_runs

    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        for run_id in clear_dead_runs(instance, home):
            say(f"! run {run_id[:8]} was killed; its place is freed and its work is taken up")
        yield instance


def decide_by_hand(settings: Settings, home: Home, job: str, config: Mapping[str, Any], as_json: bool) -> int:
    """Run one of the jobs by which a person decides about the champion; the exit status."""
    from pipeline.definitions import build_definitions, build_resources
    from pipeline.resources.tracking import CHAMPION
    from pipeline.runs.in_process import failure_message, run_job

    tracking = build_resources(settings)["tracking"]
    tracking.numbered(CHAMPION)  # a server that does not answer is named before anything is tried
    with locked_instance(home, f"ple {job}") as (held, instance):
        result = run_job(held, build_definitions(settings), instance, job, None, config)
        if not result.success:
            message = failure_message(instance, result.run_id)
            raise click.ClickException(message.partition(": ")[2] or message)
    champion = tracking.champion()
    if as_json:
        print_json({"champion": champion.version, "trained_as_of": champion.as_of})
    else:
        click.echo(f"the champion is version {champion.version}, trained as of {champion.as_of}")
    return 0


def say(text: str) -> None:
    """A line about the progress."""
    click.echo(f"  {text}", err=True)


def red(text: str) -> None:
    """A message about a failure."""
    click.secho(text, fg="red", err=True)
