"""The description of a data set: one YAML file, in `data/` or anywhere else, typed and closed.

The tables of a delivery belong to `sources/`, the contract tables to `contract.py`. Source: DATA §1, §2, §4.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, ValidationError, field_validator, model_validator

from feature_assets.closed import Closed, in_words, nearest
from feature_assets.data.local_time import day_start
from feature_assets.yaml_file import read_mapping, truths_for_numbers

DATASET_NAME = r"\w[\w-]*"  # it becomes the name of a file in data/ and of folders in the lake
DEFAULT_QUARANTINE_LIMIT = 0.02  # share of a delivered table's rows that may be dropped before the night stops


class DatasetConfig(Closed):
    """One data set: where its rows come from, its zone, the days it covers and the tasks that it cannot answer.

    Attributes:
        name: the file's stem.
        title: one line for people.
        notice: shown wherever results are shown.
        source: the reader in `feature_assets.sources.READERS`.
        folder: where its tables are when no other folder is given; relative paths start at the YAML file.
        delivery: full: each delivery replaces the last; append: deliveries add up (docs/decisions/0015).
        generator: the generator that writes a delivery when none is given (`pipeline.simulation`).
        zone: IANA zone of the shops; days, weekdays and hours are computed in it.
        covers_from: first local day of data; of validated tables the day of their first transaction.
        covers_until: first local day that is no longer covered; the default as-of date. Where deliveries add up it only
            bounds the as-of dates.
        channels: the three values of transactions.channel, the classes of the task `channel`.
        channel_label: the commonest channel of the window, or the one with the highest lift over the population.
        categories_from: the table whose categories are those of a purchase.
        nba_from: what can be newly taken up: categories of purchases, or kinds of products held.
        horizon_days: H, the label window in days.
        campaign_horizon_days: the label window of ctr and cvr in days.
        control_share: share of a campaign's targets that is withheld at random; None without control groups.
        tasks_on: tasks that are off by default and on for this data set.
        tasks_off: task → the reason why this data set has no honest label for it.
        click_kinds_off: campaign kind → the reason why its exposures have no click label.
        quarantine_limits: delivered table → largest share of rows in [0, 1] that may be dropped.
    """

    name: str
    title: str
    notice: str
    source: str
    folder: Path | None = None
    delivery: Literal["full", "append"] = "full"
    generator: str | None = None
    zone: str
    covers_from: date
    covers_until: date
    channels: tuple[str, str, str]
    channel_label: Literal["modal", "lift"] = "modal"
    categories_from: Literal["products", "merchants"] = "products"
    nba_from: Literal["categories", "holdings"] = "categories"
    horizon_days: int = Field(default=28, ge=1)
    campaign_horizon_days: int = Field(default=56, ge=1)
    control_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    tasks_on: tuple[str, ...] = ()
    tasks_off: dict[str, str] = Field(default_factory=dict)
    click_kinds_off: dict[str, str] = Field(default_factory=dict)
    quarantine_limits: dict[str, float] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _bare_name(cls, name: str) -> str:
        if re.fullmatch(DATASET_NAME, name) is None:
            raise ValueError(f"{name!r} is no name of a data set: letters, digits, _ and - only")
        return name

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        known = available_timezones()
        if zone not in known:
            raise ValueError(f"unknown time zone {zone!r}: {nearest(zone, sorted(known))}")
        return zone

    @field_validator("quarantine_limits")
    @classmethod
    def _shares(cls, limits: dict[str, float]) -> dict[str, float]:
        for table, share in limits.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"quarantine limit of {table!r} is {share}, expected a share in [0, 1]")
        return limits

    @model_validator(mode="after")
    def _ordered_days(self) -> DatasetConfig:
        if self.covers_from >= self.covers_until:
            raise ValueError(f"covers_from {self.covers_from} is not before covers_until {self.covers_until}")
        return self

    def quarantine_limit(self, table: str) -> float:
        """Largest share of dropped rows of a delivered table that does not stop the night."""
        return self.quarantine_limits.get(table, DEFAULT_QUARANTINE_LIMIT)

    def instant(self, day: date) -> datetime:
        """Local midnight of `day` as a UTC instant. Source: DATA §2."""
        return day_start(day, self.zone)


def load_dataset(name: str, data_root: Path) -> DatasetConfig:
    """Read the description of a data set.

    Args:
        name: of a file `<data_root>/<name>.yaml`, or the path of any YAML file (it ends in .yaml).
        data_root: the folder of the descriptions that have a name.

    Raises:
        FileNotFoundError: there is no such description; names the ones that exist.
        ValueError: the description is not valid; names the file and what is wrong.
    """
    path = Path(name).expanduser() if name.endswith(".yaml") else data_root / f"{name}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        hint = nearest(path.stem, known) if known else "none exists"
        raise FileNotFoundError(f"no data set description {path}: {hint}")
    raw = read_mapping(path)
    try:
        dataset = DatasetConfig(**raw)
    except ValidationError as error:
        raise ValueError(f"{path} is not a valid data set description: {in_words(error)}") from error
    if wrong := truths_for_numbers(raw, dataset.model_dump()):
        raise ValueError(f"{path}: {', '.join(wrong)}: expected a number, not yes or no")
    if dataset.name != path.stem:
        raise ValueError(f"{path} describes {dataset.name!r}: the name must equal the file's stem {path.stem!r}")
    if dataset.folder is not None:
        dataset = dataset.model_copy(update={"folder": (path.parent / dataset.folder.expanduser()).resolve()})
    return dataset
