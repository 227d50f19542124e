"""`ple study`: the studies of the repository, which do not belong to a night and are not in the wheel."""

import os
import subprocess
import sys

import click

from pipeline.settings import REPOSITORY


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[NAME] [OPTION]...")
def study(arguments: tuple[str, ...]) -> None:
    """Run a study and write its report to docs/results; `ple study --help` lists studies and options."""
    if not (REPOSITORY / "benchmarks" / "studies").is_dir():
        raise click.ClickException(
            "the studies are in the repository and not in the installed package: clone it, run `make setup` there, and "
            "call that clone's `ple study`"
        )
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "benchmarks.studies", *arguments]
    sys.exit(subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, check=False).returncode)
