"""`ple rollback`: a person goes back to the version that the champion replaced."""

import sys

import click

from pipeline.commands.common import deployment
from pipeline.commands.printing import json_option
from pipeline.commands.running import decide_by_hand


@click.command()
@click.option("--because", default="", help="Why; noted with the version that is taken back.")
@json_option
def rollback(because: str, as_json: bool) -> None:
    """Make the version that the champion replaced the champion again.

    Run the night again to score with it: the scores are those that it gave before. The version that is taken back is
    not promoted again unless a person does, and no training is due until the next one would be.
    """
    settings, home = deployment()
    from pipeline.assets.promotion import rollback_config
    from pipeline.runs.in_process import ROLLBACK

    sys.exit(decide_by_hand(settings, home, ROLLBACK, rollback_config(because), as_json))
