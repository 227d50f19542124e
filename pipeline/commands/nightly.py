"""`ple nightly`: the scores of one as-of date, with the training that is due before them."""

import sys
from collections.abc import Mapping
from datetime import date
from typing import Any

import click

from pipeline import faults
from pipeline.commands.common import covered_day, deployment
from pipeline.commands.errors import message
from pipeline.commands.printing import json_option, print_json, show, show_facts
from pipeline.commands.running import locked_instance, red, run_options, say
from pipeline.home.folder import Home
from pipeline.settings import Settings


@click.command()
@run_options
@json_option
def nightly(as_of: str | None, as_json: bool, **data: Any) -> None:
    """Publish the scores of one as-of date.

    Runs two jobs, one after the other: `training`, only where one is due (there is no champion, or the champion is
    older than retrain_after_days), then `nightly` (ingestion, features, scores, summary). A training that fails or
    whose candidate is refused does not cost the night: the standing champion scores, and the failure is printed in red
    and noted in the summary. The exit status is 0 when scores were published, else 1. A night that was killed is taken
    up by the next call.
    """
    settings, home = deployment(**data)
    found = _nightly(settings, home, covered_day(settings, as_of), quiet=as_json)
    if as_json:
        print_json(found)
    sys.exit(0 if found["published"] else 1)


def _print(summary: Mapping[str, Any], day: date) -> None:
    """The table that a person reads when the night is over."""
    from pipeline.monitoring.summary import ALARMING
    from pipeline.servers.interfaces import addresses

    tasks = summary["tasks"]
    click.echo(f"\nScores as of {day} · {summary['dataset']}\n")
    right = [name for name in tasks[0] if name not in ("task", "metric")]
    show([list(row.values()) for row in tasks], list(tasks[0]), keep=list(tasks[0]), right=right)
    click.echo(f"\n{summary['legend']}\n")
    show_facts({**summary["facts"], "look at it": "make ui", **addresses()}, red=ALARMING)
    click.echo(f"\n{summary['notice']}")


def _foretold(settings: Settings) -> str:
    """What a long night will take; empty where nothing can be said, as of files that the night itself will refuse."""
    from feature_assets.data.coercion import DeliveryError
    from feature_assets.sources import read_delivery
    from pipeline.intake.cost import foretold

    dataset = settings.load_dataset()
    if dataset.delivery == "append" or settings.data_dir is None:
        return ""
    try:
        return foretold(read_delivery(dataset, settings.data_dir), settings)
    except (DeliveryError, OSError):
        return ""


def _nightly(settings: Settings, home: Home, day: date, quiet: bool) -> dict[str, Any]:
    """What the night came to: as_of, published, failure, training_failure, its report and its summary, if any.

    `quiet`: the summary is not printed.
    """
    from pipeline.definitions import build_definitions, build_resources
    from pipeline.deployment import Deployment
    from pipeline.monitoring.night_report import REPORT
    from pipeline.monitoring.summary import read_summary
    from pipeline.nights.told_night import told_night
    from pipeline.resources.publication import published_words

    click.echo(f"nightly · {settings.dataset_name} · as of {day} · home {home.root}", err=True)
    tracking = build_resources(settings)["tracking"]
    if words := _foretold(settings):
        say(words)
    with locked_instance(home, f"ple nightly of {day}") as (held, instance):
        night = Deployment(settings, home, instance, tracking)
        outcome = told_night(held, night, build_definitions(settings), day, say, message)
    report = home.reports / f"as_of={day}" / REPORT
    found: dict[str, Any] = {
        "as_of": day,
        "published": outcome.published,
        "failure": "",
        "training_failure": outcome.training_failure,
        "report": report if report.exists() else None,
        "summary": None,
    }
    if not outcome.published:
        red(f"\nThe night failed; {published_words(home.lake, day)}.\n{outcome.reasons}")
        say(f"report: {report}")
        return found | {"failure": outcome.failure or outcome.reasons}
    try:
        summary = read_summary(home, day)
        if not quiet:
            _print(summary, day)
        found["summary"] = summary
    except Exception as error:  # whatever is wrong with it, the scores are published
        why = faults.in_words(error) or f"{type(error).__name__}: {error}"
        red(f"\n{published_words(home.lake, day)}; their summary cannot be shown: {why}")
    if report.exists():
        say(f"report: {report}")
    if outcome.training_failure:
        red(f"\nThe training that was due failed; the standing champion scored.\n{outcome.training_failure}")
    return found
