"""A night of a command, `ple nightly` or a date of `ple backfill`, of which people hear although nobody watches: its
report where it failed, and its alerts. Nights of the daemon are told by `telling.py`.
"""

from collections.abc import Callable
from datetime import date

import dagster as dg

from pipeline import faults
from pipeline.deployment import Deployment
from pipeline.monitoring import alerts
from pipeline.monitoring.night_report import Reporter
from pipeline.monitoring.summary import read_summary
from pipeline.nights.night import Outcome, run_night
from pipeline.resources.lake import Lake
from pipeline.runs.in_process import HeldHome
from pipeline.settings import read_environment
from pipeline.stopping import Stopped

Say = Callable[[str], None]


def told_night(
    held: HeldHome,
    deployment: Deployment,
    definitions: dg.Definitions,
    as_of: date,
    say: Say,
    words: Callable[[Exception], str],
) -> Outcome:
    """Make a night, write the report of one that failed, and tell whom it concerns.

    Args:
        held: the home, which this process may write in.
        deployment: whose night it is.
        definitions: its jobs.
        as_of: the date.
        say: gets a line about the progress.
        words: for an error outside of the steps, of a database or of the program: what is wrong, what to do.

    Raises:
        Stopped: from outside; nobody is told, because whoever stopped it knows.
    """
    settings, instance, tracking = deployment.settings, deployment.instance, deployment.tracking
    try:
        outcome = run_night(held, definitions, instance, tracking, as_of, settings.retrain_after_days, say)
    except Stopped:
        raise
    except Exception as error:
        outcome = Outcome(False, failure=words(error))
    found = _alerts(deployment, as_of, outcome)
    if not outcome.published:
        reporter = Reporter(settings, Lake(root=str(deployment.home.lake)), tracking, instance, say)
        reporter.try_to_write(as_of.isoformat(), outcome.reasons)
    try:
        alerts.tell(found, as_of, outcome.published, deployment.home.root, settings.alerts, read_environment(), say)
    except OSError as error:  # it costs no night that what was told cannot be noted
        say(f"! what was told could not be noted: {faults.in_words(error) or error}")
    return outcome


def _alerts(deployment: Deployment, as_of: date, outcome: Outcome) -> list[alerts.Alert]:
    if not outcome.published:
        return [alerts.Alert(alerts.NIGHT_FAILED, outcome.reasons)]
    try:
        return alerts.of_night(read_summary(deployment.home, as_of))
    except Exception:  # whatever is wrong with the summary, the scores are published; who shows it says what
        return []
