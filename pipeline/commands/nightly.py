"""`ple nightly`: the scores of one as-of date, with the training that is due before them."""

import sys
from datetime import date
from pathlib import Path

import click

from pipeline.commands.common import covered_day, deployment
from pipeline.commands.running import locked_instance, red, run_options, say
from pipeline.home import Home
from pipeline.settings import Settings, read_environment


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
    from pipeline.definitions import build_definitions, build_resources
    from pipeline.monitoring import alerts
    from pipeline.monitoring.night_report import REPORT, Reporter
    from pipeline.monitoring.terminal import print_summary, read_summary
    from pipeline.night import run_night

    click.echo(f"nightly · {settings.dataset} · as of {day} · home {home.root}", err=True)
    resources = build_resources(settings)
    tracking = resources["tracking"]
    with locked_instance(home, f"ple nightly of {day}") as (held, instance):
        outcome = run_night(
            held, build_definitions(settings), instance, tracking, day, settings.retrain_after_days, say
        )
        reasons = "\n".join(reason for reason in (outcome.training_failure, outcome.failure) if reason)
        if not outcome.published:
            reporter = Reporter(settings, resources["lake"], tracking, instance, say)
            reporter.try_to_write(day.isoformat(), reasons)
    found = (
        alerts.of_night(read_summary(home, day)) if outcome.published else [alerts.Alert(alerts.NIGHT_FAILED, reasons)]
    )
    report = home.reports / f"as_of={day}" / REPORT
    alerts.tell(found, day, outcome.published, home.root, settings.alerts, read_environment(), say)
    if not outcome.published:
        red(f"\nThe night failed; {_scores_of(home, day)}.\n{reasons}")
        say(f"report: {report}")
        return 1
    print_summary(home, day)
    if report.exists():
        say(f"report: {report}")
    if outcome.training_failure:
        red(f"\nThe training that was due failed; the standing champion scored.\n{outcome.training_failure}")
    return 0


def _scores_of(home: Home, day: date) -> str:
    """What readers see of a date whose night failed."""
    from pipeline.resources.publication import PublicationError, Published

    published = Published(home.lake, "scores")
    if day.isoformat() not in published.dates():
        return "no scores were published"
    try:
        return f"the scores of {day} are published, by run {published.read(day.isoformat())['run_id'][0]}"
    except PublicationError as error:
        return str(error)
