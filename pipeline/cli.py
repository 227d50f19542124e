"""The command `ple`, assembled from its verbs."""

import os

import click

from pipeline import __version__
from pipeline.commands.backfill import backfill
from pipeline.commands.backup import backup, restore
from pipeline.commands.base_rates import base_rates
from pipeline.commands.data import data
from pipeline.commands.doctor import doctor
from pipeline.commands.errors import Verbs
from pipeline.commands.explain import explain
from pipeline.commands.features import features
from pipeline.commands.forget import forget
from pipeline.commands.model import model
from pipeline.commands.nightly import nightly
from pipeline.commands.plan import plan
from pipeline.commands.promote import promote
from pipeline.commands.report import report
from pipeline.commands.rollback import rollback
from pipeline.commands.scores import scores
from pipeline.commands.status import status
from pipeline.commands.study import study
from pipeline.commands.tasks import tasks
from pipeline.commands.train import train
from pipeline.commands.ui import ui


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="ple", message="%(prog)s %(version)s")
def main() -> None:
    """From raw customer events to calibrated predictions about every customer, night by night.

    All state lies in $PLE_HOME (default .ple); its settings are in $PLE_HOME/settings.yaml.
    """
    os.umask(0o077)  # customers' data: what is written is its owner's alone


VERBS = (
    *(nightly, backfill, train, promote, rollback, status, doctor, ui),
    *(backup, restore, forget),
    *(data, report, scores, explain, tasks, base_rates, model, features, plan, study),
)
for verb in VERBS:
    main.add_command(verb)


if __name__ == "__main__":
    main()
