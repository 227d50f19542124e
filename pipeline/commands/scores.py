"""`ple scores`: a sample of the published scores, or the path of the version that is published."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from pipeline.commands.common import deployment, scored_day, settings_of
from pipeline.home import Home
from pipeline.settings import Settings

WIDTH = 28
NEWEST = "newest"
"""`--path` without a date."""
CLASSES_SHOWN = 2
"""Likeliest classes of a list of probabilities."""


@click.command()
@click.option("--as-of", help="As-of date; also $AS_OF. Default: the newest one that is scored.")
@click.option("--rows", default=5, show_default=True, help="How many customers to show.")
@click.option("--top", metavar="TASK", help="Show the eligible customers with the highest predictions of this task.")
@click.option(
    "--path",
    metavar="[AS_OF]",
    is_flag=False,
    flag_value=NEWEST,
    help="Print the folder of the published version, which never changes: a table for any reader of Parquet.",
)
def scores(as_of: str | None, rows: int, top: str | None, path: str | None) -> None:
    """Show a sample of the scores of one as-of date, with the names of classes."""
    from pipeline.resources.publication import Published

    if path is not None:
        settings = settings_of()
        published = Published(Home(settings.home).lake, "scores")
        click.echo(published.resolve(scored_day(published, as_of if path == NEWEST else path)))
        return

    from pipeline.scores import highest

    settings, home = deployment()
    published = Published(home.lake, "scores")
    frame = published.read(scored_day(published, as_of))
    names = class_names(settings, frame["model_version"][0])
    try:
        frame = frame.head(rows) if top is None else highest(frame, top, rows)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    width = max(len(name) for name in frame.columns)
    for column in frame.iter_columns():  # one line a column: there are more columns than fit side by side
        task, _, suffix = column.name.partition("__")
        classes = names.get(task, ()) if suffix in ("p", "each") else ()
        shown = "  ".join(f"{short(value, classes):<{WIDTH}}" for value in column.to_list())
        click.echo(f"{column.name:<{width}}  {shown.rstrip()}")


def class_names(settings: Settings, version: str) -> Mapping[str, Sequence[str]]:
    """Task → names of its classes in the version that scored; none where MLflow does not know it any more."""
    from mlflow.exceptions import MlflowException

    from pipeline.definitions import build_resources

    tracking = build_resources(settings)["tracking"]
    try:
        return {task["name"]: task["classes"] for task in tracking.read_json(tracking.version(version), "tasks.json")}
    except (MlflowException, FileNotFoundError):
        return {}


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
