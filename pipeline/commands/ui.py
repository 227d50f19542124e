"""`ple ui`: the two user interfaces."""

import sys

import click

from pipeline.commands.common import deployment


@click.command()
@click.option("--writable", is_flag=True, help="Dagster's pages may start, stop and delete runs.")
def ui(writable: bool) -> None:
    """Serve Dagster and MLflow on loopback until Ctrl-C. Without --writable, Dagster's pages only show."""
    from pipeline.servers import serve

    settings, home = deployment()
    sys.exit(serve(home, settings, writable))
