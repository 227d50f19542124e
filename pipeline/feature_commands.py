"""`ple features`: what every column means, and whether each says something of its own on a data set."""

import sys
from datetime import date, datetime
from pathlib import Path

import click
import polars as pl

from pipeline.settings import load_settings
from pipeline.simulation import GENERATED, data_folder

CHECK_CUSTOMERS = 3_000
"""Customers of the simulation that a check makes for itself."""


@click.command()
@click.argument("name", required=False)
@click.option("--check", "checks", is_flag=True, help="Compute all columns of a data set and look at each.")
@click.option("--markdown", is_flag=True, help="Print the whole catalogue as Markdown (docs/features.md).")
@click.option("--dataset", envvar="DATASET", help="Name of a file in data/, without .yaml (with --check).")
@click.option("--data-dir", envvar="DATA_DIR", type=click.Path(path_type=Path), help="Read <table>.parquet from here.")
@click.option(
    "--customers",
    type=int,
    default=CHECK_CUSTOMERS,
    show_default=True,
    help="Of a simulation that is made for --check.",
)
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="As-of date to look at (default: the newest).")
def features(
    name: str | None,
    checks: bool,
    markdown: bool,
    dataset: str | None,
    data_dir: Path | None,
    customers: int,
    as_of: datetime | None,
) -> None:
    """List the feature groups, explain the columns of one (NAME: group, section, or part of a column's name), or check
    every column on a data set."""
    from feature_assets import catalogue

    if checks:
        sys.exit(_check(dataset, data_dir, customers, as_of.date() if as_of else None))
    if markdown:
        click.echo(catalogue.markdown(), nl=False)
        return
    try:
        _show(catalogue.explain(name) if name else catalogue.overview())
    except KeyError as error:
        raise click.ClickException(str(error.args[0])) from None


def _show(frame: pl.DataFrame) -> None:
    """A table that fits the terminal; in a pipe every row is one line."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=2_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in frame.columns:
        table.add_column(name, no_wrap=name in ("positions", "position", "group", "name", "section", "input"))
    for row in frame.iter_rows():
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def _check(dataset_name: str | None, data_dir: Path | None, customers: int, as_of: date | None) -> int:
    """Fit on the training dates of the newest as-of date, compute there, report. 0 when nothing is wrong, else 1."""
    from feature_assets import registry
    from feature_assets.build import fit_state
    from feature_assets.check import check
    from feature_assets.data.contract import DeliveryError
    from feature_assets.events.view import View
    from feature_assets.labels import windows
    from feature_assets.snapshots import NotEnoughHistory, plan
    from feature_assets.sources import load_tables

    settings = load_settings()
    settings = settings.model_copy(
        update={"dataset": dataset_name or settings.dataset, "data_dir": data_dir or settings.data_dir}
        | ({"customers": customers} if (dataset_name or settings.dataset) == GENERATED else {})
    )

    def tell(text: str) -> None:
        click.echo(f"  {text}", err=True)

    try:
        dataset = settings.load_dataset()
        tables = load_tables(dataset, data_folder(settings, tell))
        day = as_of or dataset.covers_until
        train = plan(day, dataset.covers_from, windows(tables.dataset)).train
    except (DeliveryError, NotEnoughHistory, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    state = fit_state(tables, train, settings.seed, progress=lambda group: tell(f"fitting {group}"))
    found = check(View(tables, day), state, tell)
    click.echo(f"{dataset.title}\n{dataset.notice}\n")
    ranges = ", ".join(f"{name} {first}–{end - 1}" for name, (first, end) in registry.ranges().items())
    click.echo(f"{registry.width()} columns ({ranges})")
    click.echo(
        f"as of {day}: {found.present} columns present and {len(registry.side_inputs())} side inputs declared, "
        f"{found.rows:,} customers, state fitted on {len(state.groups['normalise'].meta['dates'])} training dates"
    )
    if found.absent.height:
        click.echo("\nabsent, because the data set has no source for them:")
        _show(found.absent)
    if found.passed:
        click.echo("\nno column is constant, missing throughout, or a copy of another")
        return 0
    click.echo(f"\n{found.faults.height} faults:")
    _show(found.faults)
    return 1
