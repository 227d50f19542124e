"""`ple base-rates`: how often each label takes each value."""

from collections.abc import Mapping
from typing import Any

import click

from pipeline.commands.common import covered_day, data_options, delivered_tables, settings_of
from pipeline.commands.printing import json_option, print_json, show_records

SHOWN_CLASSES = 30
"""Classes of a task that are printed; `--json` has all."""


@click.command("base-rates")
@click.option("--as-of", help="As-of date; also $AS_OF. The labels look ahead from here.")
@data_options
@json_option
def base_rates(as_of: str | None, as_json: bool, **data: Any) -> None:
    """Show the base rate of each label at one as-of date, with the names of classes, and how exposures ended."""
    settings = settings_of(**data)
    from feature_assets import labels
    from feature_assets.snapshots import plan

    day = covered_day(settings, as_of)
    dataset = settings.load_dataset()
    tables = delivered_tables(settings)
    known, until = tables.dataset, tables.dataset.covers_until
    made = plan(until, known.covers_from, labels.windows(known), min_history=known.active_days)
    fitted = labels.fit_labels(tables, made)
    rows = labels.compute_labels(tables, day, fitted, known_until=until)
    rates = labels.base_rates(rows, fitted).to_dicts()
    exposures = labels.exposure_rates(tables, day).to_dicts()
    if as_json:
        print_json({"as_of": day, "customers": rows.height, "base_rates": rates, "exposures": exposures})
        return
    click.echo(f"{rows.height:,} customers known at {day}")
    show_records([_row(rate) for rate in rates], keep=("task",), right=("labels", "rate or mean"))
    if exposures:
        click.echo("\nexposures (customer × campaign) that start in the campaign window")
        show_records([{name: _number(value) for name, value in row.items()} for row in exposures])
    click.echo(f"\n{dataset.notice}")


def _row(rate: Mapping[str, Any]) -> dict[str, str]:
    """One line of the table: a share of ones, a mean in the label's unit, or the shares of the classes."""
    classes = rate["classes"] or []
    named = ", ".join(f"{each['class']} {each['share']:.1%}" for each in classes[:SHOWN_CLASSES])
    more = f" and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    ones = rate["positive_rate"]
    return {
        "task": rate["task"],
        "labels": f"{rate['labelled']:,}",
        "rate or mean": _number(rate["mean"]) if ones is None else f"{ones:.1%}",
        "classes, share of labels": named + more if classes else rate["note"],
    }


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
