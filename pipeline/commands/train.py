"""`ple train`: a training for one as-of date, whether it is due or not."""

import sys
from datetime import date
from typing import Any

import click

from pipeline.commands.common import covered_day, deployment
from pipeline.commands.printing import json_option, print_json
from pipeline.commands.running import locked_instance, red, run_options
from pipeline.home.folder import Home
from pipeline.settings import Settings


@click.command()
@run_options
@json_option
def train(as_of: str | None, as_json: bool, **data: Any) -> None:
    """Train a model for one as-of date, due or not, and promote it if it passes.

    Runs the job `training`: decision, fitted state, training set, model, evaluation, registered version, champion. A
    date whose future the champion knows is refused. Exit status 1 when it failed or the candidate was refused.
    """
    settings, home = deployment(**data)
    day = covered_day(settings, as_of)
    failure = _train(settings, home, day)
    if as_json:
        print_json({"as_of": day, "trained": not failure, "failure": failure})
    sys.exit(1 if failure else 0)


def _train(settings: Settings, home: Home, day: date) -> str:
    """Why it failed; empty where it did not."""
    from pipeline.definitions import build_definitions
    from pipeline.runs.in_process import TRAINING, failure_message, run_job

    click.echo(f"training · {settings.dataset_name} · as of {day} · home {home.root}", err=True)
    with locked_instance(home, f"ple train of {day}") as (held, instance):
        result = run_job(held, build_definitions(settings), instance, TRAINING, day)
        if not result.success:
            failure = failure_message(instance, result.run_id)
            red(f"\nThe training failed.\n{failure}")
            return failure or "the training failed"
    return ""
