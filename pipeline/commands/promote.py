"""`ple promote`: a person makes a version the champion."""

import sys

import click

from pipeline.commands.common import deployment
from pipeline.commands.printing import json_option
from pipeline.commands.running import decide_by_hand


@click.command()
@click.argument("version", required=False)
@click.option("--because", default="", help="Why; noted with the version. Needed for one that was refused.")
@json_option
def promote(version: str | None, because: str, as_json: bool) -> None:
    """Make VERSION (default: the challenger) the champion.

    For a version that waits for a person (`promotion: {mode: held}` in the settings), or that was refused and should
    score all the same. The next night scores with it; the version that it replaces stays registered (`ple rollback`).
    """
    settings, home = deployment()
    from pipeline.assets.promotion import promote_config
    from pipeline.runs.in_process import PROMOTE

    sys.exit(decide_by_hand(settings, home, PROMOTE, promote_config(version or "", because), as_json))
