"""`ple nightly`: the scores of one as-of date, with the training that is due before them."""

import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from pipeline import faults
from pipeline.commands.common import covered_day, deployment
from pipeline.commands.errors import message
from pipeline.commands.running import locked_instance, red, run_options, say
from pipeline.home import Home
from pipeline.settings import Settings, read_environment
from pipeline.stopping import Stopped

if TYPE_CHECKING:
    from pipeline.monitoring.alerts import Alert


@click.command()
@run_options
def nightly(as_of: str | None, **data: Any) -> None:
    """Publish the scores of one as-of date.

    Runs two jobs, one after the other: `training`, only where one is due (there is no champion, or the champion is
    older than retrain_after_days), then `nightly` (ingestion, features, scores, summary). A training that fails or
    whose candidate is refused does not cost the night: the standing champion scores, and the failure is printed in red
    and noted in the summary. The exit status is 0 when scores were published, else 1. A night that was killed is taken
    up by the next call.
    """
    settings, home = deployment(**data)
    sys.exit(_nightly(settings, home, covered_day(settings, as_of)))


def _nightly(settings: Settings, home: Home, day: date) -> int:
    from pipeline.definitions import build_definitions, build_resources
    from pipeline.monitoring import alerts
    from pipeline.monitoring.night_report import REPORT, Reporter
    from pipeline.monitoring.terminal import print_summary, read_summary
    from pipeline.night import Outcome, run_night
    from pipeline.resources.publication import published_words

    click.echo(f"nightly · {settings.dataset_name} · as of {day} · home {home.root}", err=True)
    resources = build_resources(settings)
    tracking = resources["tracking"]
    with locked_instance(home, f"ple nightly of {day}") as (held, instance):
        try:
            outcome = run_night(
                held, build_definitions(settings), instance, tracking, day, settings.retrain_after_days, say
            )
        except (click.ClickException, Stopped):
            raise
        except Exception as error:  # outside the steps: of the databases, or of the program
            outcome = Outcome(False, failure=message(error))
        reasons = "\n".join(reason for reason in (outcome.training_failure, outcome.failure) if reason)
        if not outcome.published:
            reporter = Reporter(settings, resources["lake"], tracking, instance, say)
            reporter.try_to_write(day.isoformat(), reasons)
    report = home.reports / f"as_of={day}" / REPORT
    if not outcome.published:
        red(f"\nThe night failed; {published_words(home.lake, day)}.\n{reasons}")
        say(f"report: {report}")
        _tell([alerts.Alert(alerts.NIGHT_FAILED, reasons)], settings, home, day, False)
        return 1
    try:
        summary = read_summary(home, day)
        print_summary(home, day)
    except Exception as error:  # whatever is wrong with it, the scores are published
        why = faults.in_words(error) or f"{type(error).__name__}: {error}"
        red(f"\n{published_words(home.lake, day)}; their summary cannot be shown: {why}")
        summary = {"facts": {}}
    if report.exists():
        say(f"report: {report}")
    _tell(alerts.of_night(summary), settings, home, day, True)
    if outcome.training_failure:
        red(f"\nThe training that was due failed; the standing champion scored.\n{outcome.training_failure}")
    return 0


def _tell(found: "list[Alert]", settings: Settings, home: Home, day: date, published: bool) -> None:
    """Tell whom it concerns. It costs no night that what was told cannot be noted."""
    from pipeline.monitoring import alerts

    try:
        alerts.tell(found, day, published, home.root, settings.alerts, read_environment(), say)
    except OSError as error:
        red(f"! what was told could not be noted: {faults.in_words(error) or error}")
