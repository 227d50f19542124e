"""Settings, home, dates and tables, as every verb of `ple` reads them: an error is one clear message."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feature_assets.kernels.compiled import use_cache
from pipeline.home.folder import Home
from pipeline.settings import Settings, SettingsError, load_settings, read_environment

if TYPE_CHECKING:
    from feature_assets.data.tables import Tables
    from pipeline.resources.lake import Lake
    from pipeline.resources.publication import Published
    from pipeline.resources.tracking import Tracking
    from pipeline.scores.one_customer import OneCustomer

as_of_option = click.option(
    "--as-of", help="As-of date, YYYY-MM-DD; also $AS_OF. Default: the day after the last day of data."
)
customers_option = click.option(
    "--customers", type=int, help="Customers of a simulated data set; also $CUSTOMERS. Default 20,000."
)
DATA_OPTIONS = (
    click.option("--dataset", help="Name of a description in data/; also $DATASET. Default completejourney."),
    click.option(
        "--dataset-file",
        type=click.Path(path_type=Path),
        help="YAML file with a description of your own, in place of --dataset; also $DATASET_FILE.",
    ),
    click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Folder with <table>.parquet files; also $DATA_DIR."
    ),
)


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that reads a data set; it hands them to `settings_of` by their names."""
    for option in reversed(DATA_OPTIONS):
        command = option(command)
    return command


def settings_of(**options: Any) -> Settings:
    """Settings with the options of the command, once they, the home and the data set's description are found to be
    usable; kernels are cached under the home. The one entry of every verb.

    Raises:
        SettingsError, PluginError: as `load_settings`; or the description of the data set is missing or not valid.
        HomeError: the home is no folder that can be written, or its tables lie elsewhere than the settings say.
    """
    settings = load_settings(**options)
    home = Home(settings.home)
    home.refuse_unusable()
    home.settle_lake(settings.lake)
    try:
        settings.load_dataset()
    except (OSError, ValueError) as error:
        raise SettingsError(f"data set: {error}") from error
    use_cache(home.kernels)
    return settings


def deployment(**options: Any) -> tuple[Settings, Home]:
    """Settings and a prepared home in the form of this release, its databases found usable.

    Raises:
        DatabaseError: a database of PostgreSQL is not.
    """
    from pipeline.upkeep.upgrade import upgrade

    settings = settings_of(**options)
    home = Home(settings.home)
    home.prepare(settings.dagster_storage, settings.mlflow_uri)
    upgrade(home)
    return settings, home


def home_without_settings() -> Home:
    """The home that the environment names, whatever lies there, for a verb that makes it."""
    return Home(read_environment().home.expanduser().resolve())


def parse_day(value: str | None) -> date | None:
    """The date of the option `--as-of`, or of the environment where the option is missing."""
    value = value or read_environment().as_of
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a date of the form YYYY-MM-DD") from None


def covered_day(settings: Settings, value: str | None) -> date:
    """The as-of date of a run: the given one if the data set covers it, else the day after its last day of data."""
    from pipeline.intake.inbox import last_day
    from pipeline.partitions import as_of_partitions

    dataset = settings.load_dataset()
    day = parse_day(value) or last_day(dataset, settings.data_dir)
    partitions = as_of_partitions(dataset)
    if day.isoformat() not in partitions.get_partition_keys():
        raise click.ClickException(
            f"as-of date {day} lies outside what {dataset.name} covers: the first is "
            f"{partitions.get_first_partition_key()}, the last {dataset.covers_until}"
        )
    return day


def delivered_tables(settings: Settings) -> "Tables":
    """The validated tables of the delivery, for a verb that runs no job."""
    from pipeline.intake.deliveries import known_tables

    try:
        return known_tables(settings, lambda text: click.echo(f"  {text}", err=True))
    except ValueError as error:  # a reader or a generator that does not exist
        raise click.ClickException(f"delivery: {error}") from None


def scored_day(published: "Published", as_of: str | None) -> str:
    """The given date, or the newest one, that has scores."""
    day = parse_day(as_of)
    days = published.dates() if day is None else [day.isoformat()] if published.has(day.isoformat()) else []
    if not days:
        raise click.ClickException(f"no scores {f'of {day}' if day else 'yet'} in {published.where}")
    return days[-1]


def scored_customer(tracking: "Tracking", lake: "Lake", customer: str, as_of: str | None) -> "OneCustomer":
    """What is known of a customer at the given date, or the newest one, that has scores."""
    from pipeline.scores.one_customer import one_customer
    from pipeline.scores.table import UnknownCustomer

    day = scored_day(lake.published("scores"), as_of)
    try:
        return one_customer(tracking, lake, customer, day)
    except UnknownCustomer as error:
        raise click.ClickException(f"{error} (as of {day})") from None
