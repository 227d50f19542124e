"""`ple tasks`: what each task predicts and for whom, and whether it is on in a data set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.common import data_options, settings_of
from pipeline.commands.printing import json_option, print_json, show_facts, show_records

if TYPE_CHECKING:
    from feature_assets.data.dataset import DatasetConfig
    from pipeline.settings import Settings


@click.command()
@click.argument("name", required=False)
@data_options
@json_option
def tasks(name: str | None, as_json: bool, **data: Any) -> None:
    """List the tasks with what they predict, or explain one (NAME): its label, horizon, customers, unit, kind, and
    whether it is on in the data set.

    What a data set lacks is known once a night has read it, or from `ple data check FILE`.
    """
    settings = settings_of(**data)
    from feature_assets import labels

    described, read_on = as_known(settings)
    if name is not None:
        try:
            found = entry(labels.get_task(name).name, described)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        if as_json:
            print_json(found)
        else:
            show_facts(facts(found))
        return
    every = [entry(task.name, described) for task in labels.every_task()]
    if as_json:
        print_json({"dataset": described.name, "read_on": read_on, "tasks": every})
        return
    show_records([_row(each) for each in every], keep=("task", "kind"), right=("days",))
    known = f"as the night of {read_on} found it" if read_on else "by its description; no night has read it yet"
    click.echo(f"\n{described.name}, {known}. One task in full: ple tasks NAME")


def as_known(settings: "Settings") -> "tuple[DatasetConfig, str | None]":
    """The data set as the newest night found it (`deliveries.as_read`); tasks that the version of the newest scores has
    too few labels of are off as well."""
    from pipeline.home.folder import Home
    from pipeline.intake.deliveries import as_read
    from pipeline.monitoring.summary import tasks_off

    described, read_on = as_read(settings)
    return described.switching_off(tasks_off(Home(settings.home), described)), read_on


def entry(name: str, dataset: "DatasetConfig") -> dict[str, Any]:
    """A task in a data set: its entry of tasks.json, the tables that it needs, whether it is on, and why not."""
    from feature_assets import labels

    task, why = labels.get_task(name), labels.why_off(dataset)[name]
    return {**task.describe(dataset), "needs": list(task.needs), "on": not why, "why_off": why}


def facts(found: Mapping[str, Any]) -> dict[str, str]:
    """An entry in words."""
    others = "no prediction (null)" if found["withheld"] else "a prediction, marked as not eligible"
    told = {
        "task": found["name"],
        "predicts": found["meaning"],
        "for": found["eligibility"],
        "others get": "" if found["eligibility"].startswith("every customer") else others,
        "has a label for": found["labelled"],
        "looks ahead": f"{found['window_days']} days",
        "kind": found["kind"],
        "group": found["group"],
        "unit": found["unit"],
        "in natural units": found["natural_unit"],
        "classes": ", ".join(found.get("classes", ())),
        "needs tables": ", ".join(found["needs"]),
        "in the data set": "on" if found["on"] else f"off: {found['why_off']}",
    }
    return {name: words for name, words in told.items() if words}


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": found["name"],
        "": "on" if found["on"] else "off",
        "kind": found["kind"],
        "days": found["window_days"],
        "unit": found["natural_unit"] or found["unit"],
        "predicts": found["meaning"] + ("" if found["on"] else f" Off: {found['why_off']}."),
    }
