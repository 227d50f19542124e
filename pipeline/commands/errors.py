"""What a person sees where a command cannot go on: one message and exit status 1, in one place for all verbs.

An error whose cause lies with what was given (settings, paths, dates, data) says so itself; what lies below (disk,
rights, databases, network) is put into words by `pipeline.faults`. Any other is a fault of this program: its traceback
goes to a file under the home. Which inputs are wrong is found elsewhere.
"""

import errno
import traceback
from datetime import UTC, datetime
from typing import Any

import click

from pipeline import faults
from pipeline.home.folder import Home, HomeError
from pipeline.home.postgres import DatabaseError
from pipeline.plugins import PluginError
from pipeline.settings import SettingsError, read_environment
from pipeline.stopping import CTRL_C, GOES_ON, STATUS, Stopped, noticed, signalled

TOOLS = {
    "mlflow": "MLflow",
    "dagster": "Dagster",
    "sqlalchemy": "the database of MLflow or Dagster",
    "dagster_postgres": "Dagster's database",
    "yaml": "dagster.yaml",
}
"""Packages whose errors are about a server, a store or a configuration of the operator → their name for people."""
LONGEST = 300
"""Characters of a tool's error that are shown."""


class Verbs(click.Group):
    """A group of commands in which no error ends in a traceback, and none that is stopped ends without a word."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn its error, or what stopped it, into a message."""
        with noticed():
            try:
                return self._invoke(ctx)
            except Stopped as stopped:
                said, by = str(stopped), stopped.by
            except KeyboardInterrupt:
                by = signalled() or CTRL_C
                said = f"Stopped by {by}; nothing published is lost. {GOES_ON}"
        click.echo(said, err=True)
        ctx.exit(STATUS[by])

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, Stopped):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # `ple scores | head`: click ends the process as a shell expects
            raise click.ClickException(message(error)) from None


def message(error: Exception) -> str:
    """What is wrong and what to do, in a line or two."""
    from feature_assets.data.coercion import DeliveryError
    from feature_assets.group import StateError
    from feature_assets.labels import NotEnoughLabels
    from feature_assets.snapshots import NotEnoughCustomers, NotEnoughHistory
    from pipeline.resources.publication import PublicationError
    from pipeline.upkeep.backup import BackupError
    from ple_model.serving.format import BundleError

    of_inputs = SettingsError | HomeError | DatabaseError | PluginError | DeliveryError | StateError
    too_little = NotEnoughHistory | NotEnoughCustomers | NotEnoughLabels
    if isinstance(error, of_inputs | too_little | PublicationError | BundleError | BackupError):
        return str(error)
    tool = next(filter(None, (TOOLS.get(base.__module__.partition(".")[0]) for base in type(error).__mro__)), "")
    if words := faults.in_words(error):
        return f"{tool}: {words}" if tool else words
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if tool:
        text = getattr(error, "description", None) or str(error)
        return f"{tool}: {' '.join(text.split())[:LONGEST]}"
    return f"a fault of this program, {type(error).__name__}: {error}\n{_keep(error)}"


def _keep(error: Exception) -> str:
    """Write the traceback to a file under the home and say where; show it where there is no home to write to."""
    text = "".join(traceback.format_exception(error))
    try:
        logs = Home(read_environment().home.expanduser().resolve()).logs
        logs.mkdir(exist_ok=True)
        file = logs / f"error-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.log"
        file.write_text(text, encoding="utf-8")
    except (OSError, RuntimeError, ValueError):
        return text
    return f"Its traceback is in {file}."
