"""`ple base-rates`: how often each label takes each value."""

from typing import Any

import click

from pipeline.commands.common import covered_day, data_options, delivered_tables, settings_of


@click.command("base-rates")
@click.option("--as-of", help="As-of date; also $AS_OF. The labels look ahead from here.")
@data_options
def base_rates(as_of: str | None, **data: Any) -> None:
    """Show the base rate of each label at one as-of date, and how exposures ended."""
    import polars as pl

    settings = settings_of(**data)
    from feature_assets import labels
    from feature_assets.snapshots import plan

    day = covered_day(settings, as_of)
    dataset = settings.load_dataset()
    tables = delivered_tables(settings)
    known, until = tables.dataset, tables.dataset.covers_until
    fitted = labels.fit_labels(tables, plan(until, known.covers_from, labels.windows(known)))
    rows = labels.compute_labels(tables, day, fitted, known_until=until)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, fmt_str_lengths=60, tbl_hide_dataframe_shape=True):
        click.echo(f"{rows.height:,} customers known at {day}")
        click.echo(str(labels.base_rates(rows, fitted).drop("kind")))
        click.echo("exposures (customer × campaign) that start in the campaign window")
        click.echo(str(labels.exposure_rates(tables, day)))
    click.echo(dataset.notice)
