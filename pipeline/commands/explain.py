"""`ple explain`: pages for people, one a task and one a customer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.common import deployment, scored_day
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.reports.pages.page import Page
    from pipeline.resources.lake import Lake
    from pipeline.resources.tracking import RegisteredVersion, Tracking


@click.group()
def explain() -> None:
    """Explain a task of the champion, or the predictions of a customer, as Markdown, HTML or JSON."""


def _page_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that shows a page."""
    command = click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")(
        command
    )
    forms = click.Choice(["markdown", "html", "json"])
    return click.option("--form", type=forms, default="markdown", show_default=True, help="Form of the page.")(command)


@explain.command("task")
@click.argument("name")
@_page_options
def explain_task(name: str, form: str, output: Path | None) -> None:
    """What the champion's task NAME predicts, for whom, how well, and from which columns, inputs and experts."""
    settings, _ = deployment()
    from pipeline.reports.pages.task import task_page

    tracking, _ = _resources(settings)
    champion = _champion(tracking)
    tasks = {task["name"]: task for task in tracking.read_json(champion, "tasks.json")}
    if name not in tasks:
        from feature_assets.closed import nearest

        raise click.ClickException(f"no task {name!r} in version {champion.version}: {nearest(name, tasks)}")
    evaluation = tracking.read_json(champion, "evaluation.json")
    epochs = tracking.read_json(champion, "model.json").get("epochs")
    version = f"Version {champion.version} of the model, trained as of {champion.as_of}."
    _show(task_page(tasks[name], evaluation, epochs, version), form, output)


@explain.command("customer")
@click.argument("customer")
@click.option("--as-of", help="As-of date; also $AS_OF. Default: the newest one that is scored.")
@_page_options
def explain_customer(customer: str, as_of: str | None, form: str, output: Path | None) -> None:
    """Every prediction about one CUSTOMER, and the columns and inputs that moved each most from an average one."""
    settings, _ = deployment()
    import polars as pl

    from pipeline.reasons import BACKGROUND, customer_reasons
    from pipeline.reports.pages.customer import customer_page
    from pipeline.scores import STATE_VERSION, score_meanings

    tracking, lake = _resources(settings)
    day = scored_day(lake.published("scores"), as_of)
    scores = lake.published("scores").read(day)
    row = scores.filter(pl.col("customer_id") == customer)
    if row.is_empty():
        raise click.ClickException(f"no customer {customer!r} among the {scores.height:,} that were scored as of {day}")
    version = tracking.version(row["model_version"][0])
    matrix = lake.published("features/matrix").read(day)
    if matrix[STATE_VERSION][0] != version.state_version:
        raise click.ClickException(f"the features of {day} are not those that version {version.version} scored")
    tasks = tracking.read_json(version, "tasks.json")
    reasons = customer_reasons(matrix, version.folder, customer)
    named = {reason["source"] for found in reasons for reason in found["reasons"]}
    values = _natural_values(lake, day, customer, named)
    page = customer_page(row.row(0, named=True), tasks, reasons, values, score_meanings(tasks), BACKGROUND)
    _show(page, form, output)


def _resources(settings: Settings) -> "tuple[Tracking, Lake]":
    from pipeline.definitions import build_resources

    resources = build_resources(settings)
    return resources["tracking"], resources["lake"]


def _champion(tracking: "Tracking") -> "RegisteredVersion":
    champion = tracking.champion()
    if champion is None:
        raise click.ClickException("no champion yet: run a night first")
    return champion


def _natural_values(lake: "Lake", day: str, customer: str, columns: set[str]) -> dict[str, Any]:
    """Column → the customer's value as its feature group computed it, in its natural unit."""
    import polars as pl

    from pipeline.reports.pages.meanings import group_of

    found: dict[str, Any] = {}
    for group in sorted({group_of(column) for column in columns} - {""}):
        table = lake.published(f"features/{group}")
        if day in table.dates():
            frame = table.read(day)
            own = frame.filter(pl.col("customer_id") == customer).select(pl.col(sorted(columns & set(frame.columns))))
            found |= own.row(0, named=True) if own.height else {}
    return found


def _show(page: "Page", form: str, output: Path | None) -> None:
    if form == "json":
        text = json.dumps(page.to_dict(), ensure_ascii=False, indent=1, default=str) + "\n"
    else:
        text = page.html() if form == "html" else page.markdown()
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"  written: {output}", err=True)
