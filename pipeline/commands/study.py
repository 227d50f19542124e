"""`ple study`: the studies of the repository, which do not belong to a night and are not in the wheel."""

import sys
from importlib import import_module

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
    sys.path.insert(0, str(REPOSITORY))  # an installation knows the three packages alone
    sys.exit(import_module("benchmarks.studies.__main__").main(list(arguments)))
