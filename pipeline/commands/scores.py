"""`ple scores`: a sample of the published scores, one customer's, or the path of the version that is published."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.common import deployment, scored_customer, scored_day, settings_of
from pipeline.commands.printing import json_option, print_json, show, show_facts, show_records
from pipeline.home.folder import Home
from pipeline.scores.one_customer import OneCustomer, known_tasks

if TYPE_CHECKING:
    from pipeline.resources.tracking import Tracking

WIDTH = 28
NEWEST = "newest"
"""`--path` without a date."""
CLASSES_SHOWN = 2
"""Likeliest classes of a list of probabilities."""
REASONS_SHOWN = 3
"""Reasons of a prediction in the table; `ple explain customer` and `--json` have more."""


@click.command()
@click.option("--as-of", help="As-of date; also $AS_OF. Default: the newest one that is scored.")
@click.option("--rows", default=5, show_default=True, help="How many customers to show.")
@click.option("--top", metavar="TASK", help="Show the eligible customers with the highest predictions of this task.")
@click.option(
    "--customer", metavar="ID", help="Show one customer's predictions and what moved each; ID is text, zeros count."
)
@click.option(
    "--path",
    metavar="[AS_OF]",
    is_flag=False,
    flag_value=NEWEST,
    help="Print the folder, or the URL, of the published version, which never changes: for any reader of Parquet.",
)
@json_option
def scores(
    as_of: str | None, rows: int, top: str | None, customer: str | None, path: str | None, as_json: bool
) -> None:
    """Show a sample of the scores of one as-of date, with the names of classes, or one customer's."""
    from pipeline.resources.publication import Published

    if customer is not None and (top is not None or path is not None):
        raise click.UsageError("--customer shows one customer: leave out --top and --path")
    if path is not None:
        settings = settings_of()
        published = Published(Home(settings.home).lake, "scores")
        day = scored_day(published, as_of if path == NEWEST else path)
        folder = published.resolve(day)
        if as_json:
            print_json({"as_of": day, "path": folder})
        else:
            click.echo(folder)
        return

    settings, _ = deployment()
    from pipeline.definitions import build_resources
    from pipeline.scores.table import highest

    resources = build_resources(settings)
    tracking, lake = resources["tracking"], resources["lake"]
    if customer is not None:
        found = scored_customer(tracking, lake, customer, as_of)
        if as_json:
            print_json(_as_values(found))
        else:
            _print_customer(found)
        return
    published = lake.published("scores")
    frame = published.read(scored_day(published, as_of))
    names = class_names(tracking, frame["model_version"][0])
    try:
        frame = frame.head(rows) if top is None else highest(frame, top, rows)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json([{name: named(name, value, names) for name, value in row.items()} for row in frame.to_dicts()])
        return
    lines = []
    for column in frame.iter_columns():  # one line a column: there are more columns than fit side by side
        task, _, suffix = column.name.partition("__")
        classes = names.get(task, ()) if suffix in OF_CLASSES else ()
        lines.append([column.name, *(short(value, classes) for value in column.to_list())])
    show(lines, [""] * (frame.height + 1), keep=("",))


def _print_customer(found: OneCustomer) -> None:
    """Facts, and one line a task: the prediction in natural units, how sure it is, and what moved it most."""
    from pipeline.reports.pages.customer import prediction

    row = found.scores
    show_facts(
        {
            "customer": row["customer_id"],
            "as of": row["as_of"],
            "model": f"version {row['model_version']}" + (", in hindsight" if row.get("hindsight") else ""),
            **({"missing sources": ", ".join(row["missing_sources"])} if row.get("missing_sources") else {}),
        }
    )
    click.echo()
    reasons = {each["task"]: each["reasons"][:REASONS_SHOWN] for each in found.reasons}
    lines = []
    for task in found.tasks:
        moved = ", ".join(f"{each['source']} {each['contribution']:+.2g}" for each in reasons.get(task["name"], ()))
        lines.append({**prediction(row, task), "moved most by": moved})
    show_records(lines, keep=("task",))
    if found.untold:
        click.echo(f"\nno reasons: {found.untold}")
    click.echo(f"\nwhat a task means: ple tasks NAME; all reasons: ple explain customer {row['customer_id']}")


def _as_values(found: OneCustomer) -> dict[str, Any]:
    """The same as plain values: columns of a task by their suffix, probabilities by class, reasons with values."""
    row, names = found.scores, {task["name"]: task.get("classes") or () for task in found.tasks}
    reasons = {each["task"]: each for each in found.reasons}
    predictions = []
    for task in found.tasks:
        name = task["name"]
        own = {key.removeprefix(f"{name}__"): named(key, row[key], names) for key in row if key.startswith(f"{name}__")}
        why = reasons.get(name)
        predictions.append(
            {
                "task": name,
                "meaning": task.get("meaning", ""),
                "unit": task.get("unit", ""),
                "natural_unit": task.get("natural_unit", ""),
                "prediction": row[name],
                **own,
                "reasons_unit": why["unit"] if why else None,
                "reasons": [{**each, "value": found.values.get(each["source"])} for each in why["reasons"]]
                if why
                else [],
            }
        )
    kept = ("customer_id", "as_of", "model_version", "hindsight", "missing_sources")
    return {**{key: row[key] for key in kept if key in row}, "no_reasons": found.untold, "predictions": predictions}


def class_names(tracking: "Tracking", version: str) -> Mapping[str, Sequence[str]]:
    """Task → names of its classes in the version that scored; none where MLflow does not know it any more."""
    return {task["name"]: task.get("classes") or () for task in known_tasks(tracking, version)}


OF_CLASSES = ("p", "each")
"""Suffixes of columns that hold a number a class."""


def named(column: str, value: Any, classes: Mapping[str, Sequence[str]]) -> Any:
    """A value; numbers of classes that have names as name → number."""
    task, _, suffix = column.partition("__")
    names = classes.get(task, ())
    if suffix in OF_CLASSES and value is not None and len(names) == len(value):
        return dict(zip(names, value, strict=True))
    return value


def short(value: Any, classes: Sequence[str] = ()) -> str:
    """A value in at most 28 characters; of a list of numbers of named classes the largest ones."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        if len(classes) == len(value):
            order = sorted(range(len(value)), key=lambda i: -value[i])
            shown = ", ".join(f"{classes[i]} {value[i]:.3g}" for i in order[:CLASSES_SHOWN])
        else:
            shown = " ".join(short(item) for item in value)
        return shown if len(shown) <= WIDTH else shown[: WIDTH - 1] + "…"
    return "–" if value is None else str(value)[:WIDTH]
