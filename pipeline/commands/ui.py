"""`ple ui`: the two user interfaces."""

import sys

import click

from pipeline.commands.common import deployment


@click.command()
def ui() -> None:
    """Serve Dagster and MLflow on loopback until Ctrl-C."""
    from pipeline.servers import serve

    settings, home = deployment()
    sys.exit(serve(home, settings))
