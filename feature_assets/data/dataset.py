"""The description of a data set: one YAML file, in `data/` or anywhere else, typed and closed.

The tables of a delivery belong to `sources/`, the contract tables to `contract.py`. Source: DATA §1, §2, §4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from feature_assets.closed import Closed, Misplaced, faults, nearest
from feature_assets.data.contract import CONTRACT
from feature_assets.data.database import DatabaseTable
from feature_assets.data.local_time import day_start
from feature_assets.data.mapping import TableMapping, check_tables, known_zone
from feature_assets.yaml_file import line_of, read_mapping, truths_for_numbers

DESCRIPTIONS = Path(str(files("feature_assets") / "datasets"))
"""The folder of the descriptions that have a name: in a wheel its own, in a clone a link to `data/`."""
DATASET_NAME = r"\w[\w-]*"  # it becomes the name of a file in data/ and of folders in the lake
DEFAULT_QUARANTINE_LIMIT = 0.02  # share of a delivered table's rows that may be dropped before the night stops
OWN_FILES = "own_files"
"""The reader of files that `tables` maps."""
SPANS = ("horizon_days", "campaign_horizon_days", "active_days")
"""What depends on the horizon (`horizon.py`); a version keeps those that it was trained with."""
NEVER_PROTECTED = ("customer_id", "joined_on")


@dataclass(frozen=True)
class ReadFrom:
    """The file of a description; no part of what it says, so that two that say the same are equal."""

    file: Path | None = field(default=None, compare=False)


class DatasetConfig(Closed):
    """One data set: where its rows come from, its zone, the days it covers and the tasks that it cannot answer.

    Attributes:
        name: the file's stem.
        title: one line for people.
        notice: shown wherever results are shown.
        source: the reader in `feature_assets.sources.READERS`; left out where `tables` maps files of any form.
        tables: contract table → how files of another form become it (docs/own_data.md).
        protected: columns of customers that no feature, tree and network may see (age, gender, region ...). They are
            kept beside the tables, for breakdowns of an evaluation (none reads them yet).
        folder: where its tables are when no other folder is given; relative paths start at the YAML file.
        delivery: full: each delivery replaces the last; append: deliveries add up (docs/decisions/0015).
        generator: the generator that writes a delivery when none is given (`pipeline.simulation`).
        zone: IANA zone of the shops; days, weekdays and hours are computed in it.
        covers_from: first local day of data; of validated tables the day of their first transaction.
        covers_until: first local day that is no longer covered; the default as-of date. Where deliveries add up it only
            bounds the as-of dates.
        channels: at most three values of transactions.channel, the classes of the task `channel`; none where no
            transaction states one.
        channel_label: the commonest channel of the window, or the one with the highest lift over the population.
        categories_from: the table whose categories are those of a purchase.
        nba_from: what can be newly taken up: categories of purchases, or kinds of products held.
        horizon_days: H, the label window in days. Where it is not stated, short data take a smaller one (`horizon.py`).
        campaign_horizon_days: the label window of ctr and cvr in days.
        active_days: days for which a customer with a purchase counts as active.
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
    tables: dict[str, TableMapping] = Field(default_factory=dict)
    protected: tuple[str, ...] = ()
    folder: Path | None = None
    delivery: Literal["full", "append"] = "full"
    generator: str | None = None
    zone: str
    covers_from: date
    covers_until: date
    channels: tuple[str, ...] = Field(default=(), max_length=3)
    channel_label: Literal["modal", "lift"] = "modal"
    categories_from: Literal["products", "merchants"] = "products"
    nba_from: Literal["categories", "holdings"] = "categories"
    horizon_days: int = Field(default=28, ge=1)
    campaign_horizon_days: int = Field(default=56, ge=1)
    active_days: int = Field(default=56, ge=1)
    control_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    tasks_on: tuple[str, ...] = ()
    tasks_off: dict[str, str] = Field(default_factory=dict)
    click_kinds_off: dict[str, str] = Field(default_factory=dict)
    quarantine_limits: dict[str, float] = Field(default_factory=dict)
    _read: ReadFrom = PrivateAttr(default=ReadFrom())

    @model_validator(mode="before")
    @classmethod
    def _maps_its_files(cls, data: Any) -> Any:
        """`tables` names the reader; what is read from a database adds up."""
        if isinstance(data, dict) and data.get("tables"):
            tables = data["tables"].values() if isinstance(data["tables"], dict) else ()
            adds = any(isinstance(table, dict) and table.get("database") for table in tables)
            return {"source": OWN_FILES, "delivery": "append" if adds else "full"} | data
        return data

    @field_validator("name")
    @classmethod
    def _bare_name(cls, name: str) -> str:
        if re.fullmatch(DATASET_NAME, name) is None:
            raise ValueError(f"{name!r} is no name of a data set: letters, digits, _ and - only")
        return name

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        return known_zone(zone)

    @field_validator("tables")
    @classmethod
    def _contract_tables(cls, tables: dict[str, TableMapping]) -> dict[str, TableMapping]:
        if tables:
            check_tables(tables)
        return tables

    @field_validator("protected")
    @classmethod
    def _may_be_protected(cls, protected: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [column for column in protected if column in NEVER_PROTECTED]:
            raise ValueError(f"{wrong[0]} cannot be protected: without it there is no customer")
        return protected

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
            words = f"covers_from {self.covers_from} is not before covers_until {self.covers_until}"
            raise Misplaced(words, "covers_from")
        return self

    @model_validator(mode="after")
    def _one_reader(self) -> DatasetConfig:
        if (self.source == OWN_FILES) != bool(self.tables):
            words = "maps files, which another source does not read: leave source out" if self.tables else "is missing"
            raise Misplaced(f"tables {words}", "source" if self.tables else "tables")
        if self.tables:
            columns = [*CONTRACT["customers"].types, *self.mapped("customers")]
            if wrong := [column for column in self.protected if column not in columns]:
                raise Misplaced(f"customers have no column {wrong[0]!r}: {nearest(wrong[0], columns)}", "protected")
        if self.databases and self.delivery != "append":
            raise Misplaced("what is read from a database adds up: leave delivery out", "delivery")
        return self

    @property
    def databases(self) -> dict[str, DatabaseTable]:
        """Contract table → where it lies in a database, of those that do."""
        return {name: table.database for name, table in self.tables.items() if table.database is not None}

    def at(self, *keys: str) -> str:
        """Where something stands in the description: file, line and keys, for messages."""
        place = ".".join(keys)
        return _placed(self._read.file, keys, place) if self._read.file else f"{self.name}.yaml: {place}"

    def in_full(self, exclude: Collection[str] = ()) -> str:
        """All that decides what is made of a delivery, as one text: every key but those left out, and which spans are
        stated, since short data change the others."""
        stated = sorted(self.model_fields_set & {*SPANS})
        return f"{self.model_dump_json(exclude={*exclude})} {stated}"

    def switching_off(self, tasks: Mapping[str, str]) -> DatasetConfig:
        """The same with these tasks off, too, each with its reason; one that is off already keeps its own."""
        return self.model_copy(update={"tasks_off": {**tasks, **self.tasks_off}})

    def mapped(self, table: str) -> tuple[str, ...]:
        """Columns that `tables` maps of a contract table."""
        return tuple(self.tables[table].columns) if table in self.tables else ()

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
        raise ValueError("\n".join(_placed(path, keys, words) for keys, words in faults(error))) from error
    if wrong := truths_for_numbers(raw, dataset.model_dump()):
        raise ValueError(_placed(path, wrong[0].split("."), f"{', '.join(wrong)}: expected a number, not yes or no"))
    if dataset.name != path.stem:
        words = f"describes {dataset.name!r}: the name must equal the file's stem {path.stem!r}"
        raise ValueError(_placed(path, ("name",), words))
    dataset._read = ReadFrom(path)
    folder = dataset.folder if dataset.folder is not None or not dataset.tables else Path()
    if folder is not None:
        dataset = dataset.model_copy(update={"folder": (path.parent / folder.expanduser()).resolve()})
    return dataset


def _placed(path: Path, keys: Sequence[str | int], words: str) -> str:
    """A fault with its file and its line, where the file has it."""
    line = line_of(path, keys)
    return f"{path}, line {line}: {words}" if line else f"{path}: {words}"
