"""`ple explain`: pages for people, one a task and one a customer."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.common import deployment, scored_customer
from pipeline.commands.printing import json_option, json_text
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
    forms = click.Choice(["markdown", "html"])
    command = json_option(command)
    return click.option("--form", type=forms, default="markdown", show_default=True, help="Form of the page.")(command)


@explain.command("task")
@click.argument("name")
@_page_options
def explain_task(name: str, form: str, output: Path | None, as_json: bool) -> None:
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
    _show(task_page(tasks[name], evaluation, epochs, version), form, output, as_json)


@explain.command("customer")
@click.argument("customer")
@click.option("--as-of", help="As-of date; also $AS_OF. Default: the newest one that is scored.")
@_page_options
def explain_customer(customer: str, as_of: str | None, form: str, output: Path | None, as_json: bool) -> None:
    """Every prediction about one CUSTOMER, and the columns and inputs that moved each most from an average one."""
    settings, _ = deployment()
    from pipeline.reports.pages.customer import customer_page
    from pipeline.scores.reasons import BACKGROUND
    from pipeline.scores.table import score_meanings

    found = scored_customer(*_resources(settings), customer, as_of)
    if found.untold:
        raise click.ClickException(found.untold)
    page = customer_page(
        found.scores, found.tasks, found.reasons, found.values, score_meanings(found.tasks), BACKGROUND
    )
    _show(page, form, output, as_json)


def _resources(settings: Settings) -> "tuple[Tracking, Lake]":
    from pipeline.definitions import build_resources

    resources = build_resources(settings)
    return resources["tracking"], resources["lake"]


def _champion(tracking: "Tracking") -> "RegisteredVersion":
    champion = tracking.champion()
    if champion is None:
        raise click.ClickException("no champion yet: run a night first")
    return champion


def _show(page: "Page", form: str, output: Path | None, as_json: bool) -> None:
    forms = {"json": lambda: json_text(page.to_dict()) + "\n", "html": page.html, "markdown": page.markdown}
    text = forms["json" if as_json else form]()
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"  written: {output}", err=True)
