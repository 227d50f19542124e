"""`ple backfill`: the nights of a range of as-of dates."""

import sys
from datetime import date
from typing import Any

import click

from pipeline.commands.common import covered_day, customers_option, data_options, deployment
from pipeline.commands.errors import message
from pipeline.commands.printing import json_option, print_json
from pipeline.commands.running import cleared_instance, red, say
from pipeline.home.folder import Home
from pipeline.settings import Settings

GOES_ON = "The same command goes on there."


@click.command()
@click.argument("first", metavar="FROM")
@click.argument("last", metavar="TO")
@click.option("--again", is_flag=True, help="Make published dates again, too.")
@data_options
@customers_option
@json_option
def backfill(first: str, last: str, again: bool, as_json: bool, **data: Any) -> None:
    """Publish the scores of every as-of date from FROM to TO (YYYY-MM-DD), oldest first.

    Each is made as `ple nightly` makes it, a training that is due included. Dates that have scores are left as they
    are, so the same command goes on where a stopped or killed one was. Between two dates runs that wait in the queue go
    first. It stops at the first date that fails, with exit status 1, writes its report and tells whom it concerns.
    """
    settings, home = deployment(**data)
    days = covered_day(settings, first), covered_day(settings, last)
    if days[0] > days[1]:
        raise click.BadParameter(f"{first} lies after {last}; the earlier date comes first")
    found = _backfill(settings, home, *days, again)
    if as_json:
        print_json(found)
    sys.exit(1 if found["failure"] else 0)


def _backfill(settings: Settings, home: Home, first: date, last: date, again: bool) -> dict[str, Any]:
    """The dates that were to be made, those of the range that have no scores now, and why it stopped."""
    from pipeline.definitions import build_definitions, build_resources
    from pipeline.deployment import Deployment
    from pipeline.nights.backfill import Backfill, days_to_make
    from pipeline.partitions import as_of_partitions

    partitions = as_of_partitions(settings.load_dataset())
    with cleared_instance(home) as instance:
        days = days_to_make(instance, partitions, first, last, again)
        there = (last - first).days + 1 - len(days)
        already = f", {there} have scores already" if there else ""
        click.echo(
            f"backfill · {settings.dataset_name} · {len(days)} as-of dates from {first} to {last}{already}", err=True
        )
        if not days:
            return {"asked": [], "left": [], "failure": ""}
        nights = Deployment(settings, home, instance, build_resources(settings)["tracking"])
        stopped = Backfill(nights, build_definitions(settings), say, message).run(days)
        left = days_to_make(instance, partitions, first, last, again=False)
    if stopped is not None:
        words = f"The backfill stopped; {len(left)} of its dates have no scores. {GOES_ON}"
        red(f"\n{words}\n{stopped.reasons}")
        return {"asked": days, "left": left, "failure": stopped.reasons or words}
    click.echo(f"{len(days)} as-of dates made, oldest first.", err=True)
    return {"asked": days, "left": left, "failure": ""}
