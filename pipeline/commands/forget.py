"""`ple forget`: customers are taken out of the home."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.commands.common import data_options, deployment
from pipeline.commands.printing import json_option, print_json, show
from pipeline.commands.running import held_home, red, say


@click.command()
@click.argument("customers", nargs=-1)
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with one id a line, beside or instead of CUSTOMERS.",
)
@click.option("--again", is_flag=True, help="Everybody who was forgotten before: after a kill, or an older backup.")
@click.option("--dry-run", is_flag=True, help="Say what would go where; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_options
@json_option
def forget(
    customers: tuple[str, ...],
    file: Path | None,
    again: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **data: Any,
) -> None:
    """Take CUSTOMERS (ids) out of the home.

    That is: lake, quarantine, trainings, examples of the model, reports, logs, databases, simulations. Old versions of
    published tables that hold them are removed at once. No later delivery brings them back: their rows are left out
    when it is read. Other customers' scores stay as they are. What cannot be taken out is said: the weights of trained
    versions. A description of your own (--dataset-file) says which column of your files names a customer. Backups are
    yours to replace. Stopped or killed, the same command goes on.
    """
    from pipeline.definitions import build_resources
    from pipeline.erasure.erase import erase
    from pipeline.erasure.places import ErasureError

    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    ids = [each for each in (*customers, *lines) if each.strip()]
    if not ids and not again:
        raise click.UsageError("name at least one customer, a file (--from), or --again")
    settings, home = deployment(**data)
    if not (dry_run or yes):
        who = f"{len(ids)} customer{'s' if len(ids) != 1 else ''}" if ids else "everybody on the list"
        click.confirm(f"Take {who} out of {home.root}? This cannot be undone.", abort=True, err=as_json)
    tracking = build_resources(settings)["tracking"]
    with held_home(home, "ple forget"):
        try:
            outcome = erase(home, settings.load_dataset(), tracking, ids, dry_run, lambda room: say(f"▸ {room}"))
        except ErasureError as error:
            raise click.ClickException(str(error)) from None
    total = sum(each.count for each in outcome.erased)
    if as_json:
        print_json({"dry_run": dry_run, "rows_and_texts": total, **asdict(outcome)})
    else:
        done = f"rows and texts {'would be taken' if dry_run else 'were taken'} out"
        places = [(f"{each.count:,}", each.place) for each in outcome.erased]
        show([*places, (f"{total:,}", done)], ["", ""], right=("",))
    if outcome.versions and not as_json:
        click.echo(
            f"Versions {', '.join(outcome.versions)} of the model may have learnt from these customers. Their weights, "
            "trees and calibration are sums over all customers and hold no row; `ple train` makes a version without."
        )
    if settings.mlflow_uri is not None:
        say("! MLflow lies outside of the home (mlflow_uri): examples and artifacts of its versions were not looked at")
    if home.lake_url is not None:
        say(f"! {home.lake_url}: what the store itself keeps of deleted objects was not looked at")
    for path in outcome.remaining:
        red(f"! an id still stands in {path}: look at it")
    for problem in outcome.problems:
        red(f"! {problem}")
    if outcome.problems:
        red("Not everything could be taken out: mend this and run the same command again.")
    sys.exit(1 if outcome.problems or outcome.remaining else 0)
