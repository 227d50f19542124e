"""`ple doctor`: what is wrong with the installation."""

import sys
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click

from pipeline.commands.common import deployment
from pipeline.commands.printing import json_option, print_json, show
from pipeline.commands.running import say
from pipeline.settings import Settings, read_environment

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from pipeline.upkeep.doctor import Finding


@click.command()
@click.option(
    "--tell", is_flag=True, help="Send an alert where a night is late: for a timer, that lives without the daemon."
)
@json_option
def doctor(tell: bool, as_json: bool) -> None:
    """Look for what is wrong with this installation, and say what to do.

    Reads the data set's description, the disk, runs and their queue, whether a night is late, the champion, the newest
    scores, and what the next night would remove. Changes nothing. Exit status 1 where something is wrong.
    """
    import dagster as dg

    from pipeline.definitions import build_resources
    from pipeline.deployment import Deployment
    from pipeline.upkeep.doctor import examine

    settings, home = deployment()
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        found = examine(Deployment(settings, home, instance, build_resources(settings)["tracking"]))
        if tell:
            _tell(settings, instance)
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        _print(found)
    sys.exit(1 if any(finding.problems for finding in found) else 0)


def _print(found: "list[Finding]") -> None:
    """One line a check, and one a problem below it."""
    rows = []
    for finding in found:
        rows.append(("✗" if finding.problems else "✓", finding.check, finding.fact))
        rows += [("", "", problem) for problem in finding.problems]
    show(rows, ["", "", ""])


def _tell(settings: Settings, instance: "DagsterInstance") -> None:
    """What no sensor can tell: its daemon may be the one that is down."""
    from pipeline.monitoring import alerts
    from pipeline.monitoring.lateness import late_night
    from pipeline.partitions import as_of_partitions

    late = late_night(instance, as_of_partitions(settings.load_dataset()), settings, datetime.now(UTC))
    if late is not None:
        day = date.fromisoformat(late.day)
        alerts.tell([late.alert], day, False, settings.home, settings.alerts, read_environment(), say)
