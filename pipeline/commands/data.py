"""`ple data`: describe files of your own, and see what they are worth before a night reads them."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from pipeline.commands.printing import json_option, print_json, show_facts, show_records


@click.group()
def data() -> None:
    """Describe a data set of your own, and check it before the first night (docs/own_data.md)."""


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="File to write. Default: DIR/<name of DIR>.yaml.")
@json_option
def init(folder: Path, output: Path | None, as_json: bool) -> None:
    """Look at the files in DIR and write a description of them, with every guess marked and its reason.

    Never overwrites a file. Nothing is read but the files in DIR.
    """
    from feature_assets.data.coercion import DeliveryError
    from feature_assets.data.dataset import DATASET_NAME
    from feature_assets.sources.own.proposal import propose

    output = output or folder / f"{_name_of(folder.resolve().name)}.yaml"
    if output.suffix != ".yaml":
        raise click.ClickException(f"{output}: a description ends in .yaml")
    if re.fullmatch(DATASET_NAME, output.stem) is None:
        wanted = output.with_name(f"{_name_of(output.stem)}.yaml")
        raise click.ClickException(
            f"--output {output}: {output.stem!r} is no name of a data set: letters, digits, _ and - only, like {wanted}"
        )
    if output.exists():
        raise click.ClickException(f"{output} exists; give another file by --output, or remove it")
    try:
        proposal = propose(folder, output)
        output.write_text(proposal.text, encoding="utf-8")
    except (DeliveryError, OSError) as error:
        raise click.ClickException(str(error)) from None
    fed = _fed(output)
    if as_json:
        print_json({"description": output, "files": proposal.seen, "open": proposal.open, **fed})
        return
    click.echo(f"wrote {output}")
    show_records(proposal.seen, keep=("file", "rows", "table"))
    for line in proposal.open:
        click.echo(f"  ! {line}")
    _show_fed(fed)
    click.echo(f"\nRead it, change what is guessed wrong, then: ple data check {output}")


def _fed(file: Path) -> dict[str, Any]:
    """Tasks and groups that the files could feed if every guess were right, or why they cannot be read."""
    from feature_assets.data.coercion import DeliveryError
    from feature_assets.data.dataset import load_dataset
    from feature_assets.sources import ingest, read_delivery
    from pipeline.intake.data_check import groups, tasks

    try:
        tables = ingest(read_delivery(load_dataset(str(file), file.parent))).tables
    except (DeliveryError, ValueError) as error:
        return {"unfit": str(error)}
    return {"tasks": tasks(tables), "groups": groups(tables)}


def _show_fed(fed: dict[str, Any]) -> None:
    if "unfit" in fed:
        click.echo(f"  ! the files do not fit it yet: {fed['unfit']}")
        return
    for what in ("task", "group"):
        rows = fed[f"{what}s"]
        on = [row[what] for row in rows if row["state"] == "on"]
        click.echo(f"\n{len(on)} of {len(rows)} {what}s can be fed: {', '.join(on)}")
        show_records([row for row in rows if row["state"] == "off"], keep=(what,))


def _name_of(text: str) -> str:
    """A name that a data set can have."""
    from feature_assets.data.dataset import DATASET_NAME

    name = "".join(sign if re.fullmatch(DATASET_NAME, sign) else "_" for sign in text.lower()).strip("_")
    return name or "own"


@data.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the delivery. Default: as FILE says.")
@json_option
def check(file: Path, data_dir: Path | None, as_json: bool) -> None:
    """Say what a night would find in the data set that FILE describes: rows that are set aside and why, days,
    customers, base rates of every label, tasks and feature groups that are off, expected cost. Writes nothing.

    Exit status 1 where a night would stop.
    """
    from feature_assets.data.coercion import DeliveryError
    from feature_assets.data.dataset import load_dataset
    from pipeline.intake.data_check import examine
    from pipeline.intake.extracts import whole

    def say(text: str) -> None:
        click.echo(f"  {datetime.now(UTC):%H:%M:%S} {text}", err=True)

    if file.suffix != ".yaml":
        raise click.ClickException(f"{file}: a description ends in .yaml")
    try:
        dataset = load_dataset(str(file), file.parent)
        if dataset.databases:
            with TemporaryDirectory(prefix="ple-check-") as target:
                found = examine(whole(dataset, data_dir, Path(target), say), Path(target), say)
        elif dataset.delivery == "append" and data_dir is None:
            raise click.ClickException(f"deliveries of {dataset.name} add up: name the folder of one by --data-dir")
        else:
            found = examine(dataset.model_copy(update={"delivery": "full"}), data_dir, say)
    except (DeliveryError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(found)
    else:
        _print(found)
    sys.exit(1 if found["problems"] else 0)


def _print(found: dict[str, Any]) -> None:
    def title(text: str) -> None:
        click.echo(f"\n{text}")

    title("Tables")
    show_records(found["tables"])
    if found["set_aside"]:
        title("Rows that are set aside, collapsed or kept without a value")
        show_records(found["set_aside"], keep=("rows",))
    title("Coverage")
    show_facts(found["coverage"])
    title("Tasks")
    show_records(found["tasks"], keep=("task",))
    title("Feature groups")
    show_records(found["groups"], keep=("group",))
    if "base_rates" in found:
        title("Base rates of the labels")
        rates = [{key: value for key, value in row.items() if key != "shares"} for row in found["base_rates"]]
        show_records(rates, keep=("task", "date"))
    if "cost" in found:
        title("A first night, roughly (scaled from one measured night; labels are checked for leaks in it)")
        show_facts(found["cost"])
    if found["notes"]:
        title("Notes")
        for note in found["notes"]:
            click.echo(f"  {note}")
    if found["problems"]:
        title("A night would stop")
        for problem in found["problems"]:
            click.echo(f"  ! {problem}")
