"""`ple features`: the meaning of every column, and a check that each carries information on a data set."""

import sys
from typing import Any

import click
import polars as pl

from pipeline.commands.common import (
    covered_day,
    data_options,
    delivered_tables,
    settings_of,
)
from pipeline.commands.printing import show
from pipeline.settings import Settings

CHECK_CUSTOMERS = 3_000
"""Customers of a simulated data set that is checked."""


@click.command()
@click.argument("name", required=False)
@click.option("--check", "checks", is_flag=True, help="Compute all columns of a data set and check each.")
@click.option("--markdown", is_flag=True, help="Print the whole catalogue as Markdown (docs/features.md).")
@data_options
@click.option(
    "--customers", type=int, default=CHECK_CUSTOMERS, show_default=True, help="Of a simulated data set (with --check)."
)
@click.option("--as-of", help="As-of date of the check; also $AS_OF. Default: the newest.")
def features(name: str | None, checks: bool, markdown: bool, as_of: str | None, **data: Any) -> None:
    """List the feature groups, explain the columns of one (NAME: group, section, or part of a column's name), or check
    every column on a data set."""
    settings = settings_of(**data)
    from feature_assets import catalogue

    if checks:
        sys.exit(_check(settings, as_of))
    if markdown:
        click.echo(catalogue.markdown(), nl=False)
        return
    try:
        _show(catalogue.explain(name) if name else catalogue.overview())
    except KeyError as error:
        raise click.ClickException(str(error.args[0])) from None


def _show(frame: pl.DataFrame) -> None:
    show(frame.iter_rows(), frame.columns, keep=("positions", "position", "group", "name", "section", "input"))


def _check(settings: Settings, as_of: str | None) -> int:
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
    made = plan(day, tables.dataset.covers_from, windows(tables.dataset))
    require_customers(made, tables)
    state = fit_state(tables, made.train, settings.seed, progress=lambda group: say(f"fitting {group}"))
    report = check(View(tables, day), state, say)
    click.echo(f"{dataset.title}\n{dataset.notice}\n")
    ranges = ", ".join(f"{name} {first}–{end - 1}" for name, (first, end) in registry.ranges().items())
    click.echo(f"{registry.width()} columns ({ranges})")
    click.echo(
        f"as of {day}: {report.present} columns present and {len(registry.side_inputs())} side inputs declared, "
        f"{report.rows:,} customers, state fitted on {len(state.groups['normalise'].meta['dates'])} training dates"
    )
    if report.absent.height:
        click.echo("\nabsent, because the data set has no source for them:")
        _show(report.absent)
    if report.passed:
        click.echo("\nno column is constant, missing throughout, or a copy of another")
        return 0
    click.echo(f"\n{report.faults.height} faults:")
    _show(report.faults)
    return 1
