"""The command `ple`: what a person or a scheduler calls on a deployment."""

import os
import sys
from datetime import date, datetime
from pathlib import Path

import click

from pipeline.feature_commands import features
from pipeline.home import Home
from pipeline.settings import Settings, load_settings
from pipeline.simulation import data_folder


def _deployment() -> tuple[Settings, Home]:
    """Settings and a prepared home; a configuration error ends the command with one clear message."""
    from pydantic import ValidationError

    try:
        settings = load_settings()
    except (ValidationError, ValueError) as error:
        raise click.ClickException(f"settings: {error}") from None
    home = Home(settings.home)
    home.prepare()
    os.environ["PLE_HOME"] = str(home.root)
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    return settings, home


def _as_date(value: str) -> date:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a date of the form YYYY-MM-DD") from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """From raw customer events to calibrated predictions about every customer, night by night.

    All state lies in PLE_HOME (default .ple); its settings are in PLE_HOME/settings.yaml.
    """


@main.command()
@click.option("--as-of", envvar="AS_OF", help="As-of date, YYYY-MM-DD (default: the day after the last day of data).")
@click.option("--dataset", envvar="DATASET", help="Name of a file in data/, without .yaml (default completejourney).")
@click.option("--data-dir", envvar="DATA_DIR", type=click.Path(path_type=Path), help="Read <table>.parquet from here.")
@click.option("--customers", envvar="CUSTOMERS", type=int, help="How many customers a simulation has (default 20,000).")
def nightly(as_of: str | None, dataset: str | None, data_dir: Path | None, customers: int | None) -> None:
    """Run the nightly job for one as-of date and print what it made."""
    if dataset:
        os.environ["DATASET"] = dataset
    if customers:
        os.environ["CUSTOMERS"] = str(customers)
    if data_dir:
        os.environ["DATA_DIR"] = str(data_dir.resolve())
    settings, home = _deployment()
    from pipeline.partitions import as_of_partitions

    try:
        description = settings.load_dataset()
    except (OSError, ValueError) as error:
        raise click.ClickException(f"data set: {error}") from None
    day = _as_date(as_of) if as_of else description.covers_until
    if day.isoformat() not in as_of_partitions(description).get_partition_keys():
        raise click.ClickException(
            f"as-of date {day} lies outside what {description.name} covers: the first is "
            f"{as_of_partitions(description).get_first_partition_key()}, the last {description.covers_until}"
        )
    sys.exit(_night(settings, home, day))


def _night(settings: Settings, home: Home, day: date) -> int:
    import dagster as dg

    from pipeline.definitions import build_definitions
    from pipeline.night import NightIsRunning, clear_dead_runs, failure_message, one_at_a_time, run_night
    from pipeline.reports.summary import print_summary

    click.echo(f"nightly · {settings.dataset} · as of {day} · home {home.root}", err=True)
    try:
        with one_at_a_time(home), dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            for run_id in clear_dead_runs(instance):
                click.echo(f"  ! run {run_id[:8]} was killed; its place is freed and its work is taken up", err=True)
            result = run_night(build_definitions(settings), instance, day)
            if not result.success:
                click.secho(
                    f"\nThe night failed; no scores were published.\n{failure_message(result)}", fg="red", err=True
                )
                return 1
            print_summary(home, day)
            return 0
    except NightIsRunning as error:
        raise click.ClickException(str(error)) from None


@main.command()
def ui() -> None:
    """Serve Dagster and MLflow on loopback until Ctrl-C."""
    settings, home = _deployment()
    from pipeline.servers import serve

    sys.exit(serve(home, settings))


@main.command()
@click.option("--as-of", envvar="AS_OF", help="As-of date; the default is the newest one that is scored.")
@click.option("--rows", default=5, show_default=True, help="How many customers to show.")
def scores(as_of: str | None, rows: int) -> None:
    """Show a sample of the scores of one as-of date."""
    _, home = _deployment()
    import polars as pl

    folders = sorted((home.lake / "scores").glob("as_of=*"))
    if as_of:
        folders = [f for f in folders if f.name == f"as_of={_as_date(as_of)}"]
    if not folders:
        raise click.ClickException(f"no scores {'of ' + as_of if as_of else 'yet'} in {home.lake / 'scores'}")
    frame = pl.read_parquet(folders[-1] / "*.parquet", hive_partitioning=False).head(rows)
    width = max(len(name) for name in frame.columns)
    for name in frame.columns:  # a column a line: there are more columns than fit side by side
        click.echo(f"{name:<{width}}  " + "  ".join(f"{_short(value):<28}" for value in frame[name].to_list()).rstrip())


def _short(value: object) -> str:
    """A value in at most 28 characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = " ".join(_short(item) for item in value)
        return shown if len(shown) <= 28 else shown[:27] + "…"
    return str(value)[:28]


@main.command("base-rates")
@click.option("--as-of", envvar="AS_OF", required=True, help="As-of date; the labels look ahead from here.")
@click.option("--data-dir", envvar="DATA_DIR", type=click.Path(path_type=Path), help="Read <table>.parquet from here.")
def base_rates_command(as_of: str, data_dir: Path | None) -> None:
    """Show how often each label is what it is at one as-of date, and how exposures ended."""
    import polars as pl

    from feature_assets.labels import base_rates, compute_labels, exposure_rates, fit_labels, windows
    from feature_assets.snapshots import plan
    from feature_assets.sources import load_tables

    settings = load_settings()
    settings = settings.model_copy(update={"data_dir": data_dir or settings.data_dir})
    dataset = settings.load_dataset()
    tables = load_tables(dataset, data_folder(settings, lambda text: click.echo(text, err=True)))
    fitted = fit_labels(tables, plan(dataset.covers_until, dataset.covers_from, windows(tables.dataset)))
    labels = compute_labels(tables, _as_date(as_of), fitted, known_until=dataset.covers_until)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160, fmt_str_lengths=60, tbl_hide_dataframe_shape=True):
        click.echo(f"{labels.height:,} customers known at {as_of}")
        click.echo(str(base_rates(labels).drop("kind")))
        click.echo("exposures (customer × campaign) that start in the campaign window")
        click.echo(str(exposure_rates(tables, _as_date(as_of))))
    click.echo(dataset.notice)


@main.command("model")
def model_command() -> None:
    """Print the network's parameters by module, beside what the design allows for them (all 734 columns, 16 tasks)."""
    from feature_assets import registry
    from feature_assets.labels import every_task, relations
    from ple_model.config import InputConfig, ModelConfig
    from ple_model.interpretation.parameters import table
    from ple_model.model import PLEClusterAdaTT

    network = load_settings().network.to_dict()
    inputs = InputConfig(
        columns=registry.names(), present=tuple(range(len(registry.names()))), normalised=registry.normalised()
    )
    on = [task for task in every_task() if task.default]
    network["transfer"]["relations"] = network["transfer"]["relations"] or relations(task.name for task in on)
    config = ModelConfig.from_dict({"inputs": inputs, "tasks": [task.for_model() for task in on], **network})
    click.echo(table(PLEClusterAdaTT(config)))


main.add_command(features)


if __name__ == "__main__":
    main()
