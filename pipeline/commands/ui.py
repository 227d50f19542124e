"""`ple ui`: the three user interfaces."""

import sys

import click

from pipeline.commands.common import deployment


@click.command()
@click.option("--writable", is_flag=True, help="Dagster's pages may start, stop and delete runs.")
@click.option(
    "--only",
    metavar="SERVER",
    help="Be one server, for a service manager: dagster-webserver, dagster-daemon, mlflow, scores or code-location.",
)
@click.option("--listen", metavar="ADDRESS", help="With --only, inside a container: listen there, not on 127.0.0.1.")
def ui(writable: bool, only: str | None, listen: str | None) -> None:
    """Serve Dagster, MLflow and the scores on loopback until Ctrl-C. Without --writable, Dagster's pages only show."""
    from pipeline.servers.interfaces import ALONE, become, serve
    from pipeline.servers.webserver import HOST

    if only is not None and only not in ALONE:
        raise click.UsageError(f"--only {only}: name {', '.join(ALONE)}")
    if listen is not None and only is None:
        raise click.UsageError("--listen needs --only")
    settings, home = deployment()
    if only is not None:
        become(only, home, settings, listen or HOST, writable)
    sys.exit(serve(home, settings, writable))
