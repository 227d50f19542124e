"""`ple features`: the meaning of every column, and a check that each carries information on a data set."""

import sys
from typing import Any

import click

from pipeline.commands.common import (
    covered_day,
    data_options,
    delivered_tables,
    settings_of,
)
from pipeline.commands.printing import json_option, print_json, show_facts, show_records
from pipeline.commands.tasks import as_known, entry, facts
from pipeline.settings import Settings

CHECK_CUSTOMERS = 3_000
"""Customers of a simulated data set that is checked."""
KEPT = ("positions", "position", "group", "name", "section", "input")
"""Columns of tables that are never broken into lines."""


@click.command()
@click.argument("name", required=False)
@click.option("--check", "checks", is_flag=True, help="Compute all columns of a data set and check each.")
@click.option("--markdown", is_flag=True, help="Print the whole catalogue as Markdown (docs/features.md).")
@data_options
@click.option(
    "--customers", type=int, default=CHECK_CUSTOMERS, show_default=True, help="Of a simulated data set (with --check)."
)
@click.option("--as-of", help="As-of date of the check; also $AS_OF. Default: the newest.")
@json_option
def features(name: str | None, checks: bool, markdown: bool, as_of: str | None, as_json: bool, **data: Any) -> None:
    """List the feature groups, explain what a NAME means (group, section, side input, column or part of a column's
    name; also a task, or a column of the scores), or check every column on a data set."""
    settings = settings_of(**data)
    from feature_assets import catalogue

    if checks:
        sys.exit(_check(settings, as_of, as_json))
    if markdown:
        if as_json:
            raise click.UsageError("--markdown and --json are two forms of one thing: choose one")
        click.echo(catalogue.markdown(), nl=False)
        return
    if name is None:
        found: dict[str, Any] = {"groups": catalogue.overview().to_dicts()}
    else:
        try:
            found = _explained(name, settings)
        except KeyError as error:
            raise click.ClickException(str(error.args[0])) from None
    if as_json:
        print_json(found)
    else:
        _print(found)


def _explained(name: str, settings: Settings) -> dict[str, Any]:
    """What a name means: a task, a column of the scores, or columns and side inputs of features.

    Raises:
        KeyError: nothing bears it; says the nearest.
    """
    from feature_assets import catalogue, labels
    from pipeline.scores.table import score_meanings

    dataset, _ = as_known(settings)
    tasks = {task.name: task for task in labels.every_task()}
    if name in tasks:
        of_scores = score_meanings([tasks[name].describe(dataset)])
        own = {column: words for column, words in of_scores.items() if column.partition("__")[0] == name}
        return {"task": entry(name, dataset), "columns_of_the_scores": own}
    of_scores = score_meanings([task.describe(dataset) for task in tasks.values()])
    if name in of_scores:
        return {"columns_of_the_scores": {name: of_scores[name]}}
    return {"columns": catalogue.explain(name, also=[*tasks, *of_scores]).to_dicts()}


def _print(found: dict[str, Any]) -> None:
    show_records(found.get("groups", ()), KEPT)
    if "task" in found:
        show_facts(facts(found["task"]))
        click.echo("\nin the scores:")
    show_facts(found.get("columns_of_the_scores", {}))
    if "task" in found:
        click.echo(f"\nthe columns that move its predictions: ple explain task {found['task']['name']}")
    columns = found.get("columns", ())
    if len(columns) == 1:
        show_facts({key: value for key, value in columns[0].items() if value})
    else:
        show_records(columns, KEPT)


def _check(settings: Settings, as_of: str | None, as_json: bool) -> int:
    """Fit on the training dates of an as-of date, compute there, report. 0 when nothing is wrong, else 1."""
    from feature_assets import registry
    from feature_assets.build import fit_state
    from feature_assets.check import check
    from feature_assets.events.view import View
    from feature_assets.labels import windows
    from feature_assets.snapshots import plan, require_customers

    def say(text: str) -> None:
        click.echo(f"  {text}", err=True)

    day = covered_day(settings, as_of)
    tables, dataset = delivered_tables(settings), settings.load_dataset()
    known = tables.dataset
    made = plan(day, known.covers_from, windows(known), min_history=known.active_days)
    require_customers(made, tables)
    state = fit_state(tables, made.train, settings.seed, progress=lambda group: say(f"fitting {group}"))
    report = check(View(tables, day), state, say)
    if as_json:
        told = {"as_of": day, "customers": report.rows, "columns": registry.width(), "present": report.present}
        print_json({**told, "absent": report.absent.to_dicts(), "faults": report.faults.to_dicts()})
        return 0 if report.passed else 1
    click.echo(f"{dataset.title}\n{dataset.notice}\n")
    ranges = ", ".join(f"{name} {first}–{end - 1}" for name, (first, end) in registry.ranges().items())
    click.echo(f"{registry.width()} columns ({ranges})")
    click.echo(
        f"as of {day}: {report.present} columns present and {len(registry.side_inputs())} side inputs declared, "
        f"{report.rows:,} customers, state fitted on {len(state.groups['normalise'].meta['dates'])} training dates"
    )
    if report.absent.height:
        click.echo("\nabsent, because the data set has no source for them:")
        show_records(report.absent.to_dicts(), KEPT)
    if report.passed:
        click.echo("\nno column is constant, missing throughout, or a copy of another")
        return 0
    click.echo(f"\n{report.faults.height} faults:")
    show_records(report.faults.to_dicts(), KEPT)
    return 1
