"""The contract tables of a data set: validated frames in a stable order, and their rows encoded as arrays.

Nothing is cut at a date here: what was known at an instant is a `View` of `events/`. Nothing of a group or a label
belongs here either. Source: DATA §1, §2; ARCHITECTURE §2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets.data.blocks import Block, Sample
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.encoding import Encoding
from feature_assets.data.known import DIMENSIONS
from feature_assets.data.lines import CATEGORIES, Lines, Purchases
from feature_assets.data.parts import PARTS, has_part

SORT_KEYS: dict[str, tuple[str, ...]] = {name: table.order or table.key for name, table in CONTRACT.items()}
"""The order of each contract table's rows: results never depend on the order of a delivery. Ties of tables without a
key are decided by the other columns."""

DESCRIPTION = "dataset.json"
"""File of the description beside the tables."""
CUSTOMERS = "customers"
ROW_GROUP = 250_000
"""Rows of a group in a file of a stored table: a block of customers reads the groups that it needs."""
PROTECTED = "protected"
"""Folder of the protected columns beside the tables."""


def _ordered(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    keys = SORT_KEYS[name]
    more = [c for c in frame.columns if c not in keys] if name in ("sessions", "contacts") else []  # without a key
    return frame.sort(*keys, *more, nulls_last=True)


@dataclass(frozen=True)
class Tables:
    """The contract tables of a data set, validated, each in its stable order.

    Attributes:
        dataset: the description; its `tasks_off` also names tasks that this delivery cannot answer.
        frames: contract table → frame; a table that was not delivered is not in it, nor is a protected column.
        presorted: whether the frames are known to be in their stable order already.
        parts: part (`PARTS`) → whether the data set has it, where `frames` are only some of its rows.
        protected: customer_id and the protected columns, one row a customer, in the order of the customers; without
            columns where the data set protects none. Nothing but an evaluation's breakdown may read it.
    """

    dataset: DatasetConfig
    frames: dict[str, pl.DataFrame] = field(repr=False)
    presorted: InitVar[bool] = False
    protected: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False)
    parts: Mapping[str, bool] | None = None

    def __post_init__(self, presorted: bool) -> None:
        if not presorted:
            ordered = {name: _ordered(name, frame) for name, frame in self.frames.items()}
            object.__setattr__(self, "frames", ordered)
        if "customers" in self.frames:
            customers = self.frames["customers"]
            if hidden := [column for column in self.dataset.protected if column in customers.columns]:
                object.__setattr__(self, "protected", customers.select("customer_id", *hidden))
                object.__setattr__(self, "frames", {**self.frames, "customers": customers.drop(hidden)})

    @property
    def customers(self) -> int:
        """Number of customers of the data set."""
        return self.frames["customers"].height

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return self._parts[name] if name in PARTS else name in self.frames

    @cached_property
    def _parts(self) -> Mapping[str, bool]:
        if self.parts is not None:
            return self.parts
        return _parts({name: frame.lazy() for name, frame in self.frames.items()})

    def encoding(self, table: str) -> Encoding:
        """The rows of a table of events as arrays, made once.

        Raises:
            ValueError: `table` is no table of events.
        """
        if table in DIMENSIONS:
            raise ValueError(f"{table} is no table of events: read its frame")
        if table == "transactions":
            return self.transactions
        if table not in self._encodings:
            frame = self.frames[table]
            customer = self.customer_index(frame["customer_id"])
            self._encodings[table] = Encoding(table, frame, customer, self.customers, self.dataset.zone)
        return self._encodings[table]

    @cached_property
    def _encodings(self) -> dict[str, Encoding]:
        return {}

    @cached_property
    def transactions(self) -> Lines:
        """The rows of the transactions table as arrays."""
        return Lines(*self._lines(None))

    @cached_property
    def purchases(self) -> Purchases:
        """The purchases among them."""
        return Purchases(*self._lines(pl.col("kind") == "purchase"))

    @cached_property
    def flows(self) -> Lines:
        """The refunds, inflows and outflows among them."""
        return Lines(*self._lines(pl.col("kind") != "purchase"))

    def _lines(
        self, keep: pl.Expr | None
    ) -> tuple[pl.DataFrame, np.ndarray, int, str, Mapping[str, pl.DataFrame], str]:
        """The arguments of `Lines` for the rows of the transactions table that `keep` chooses."""
        frame = self.frames["transactions"]
        customer = self.customer_index(frame["customer_id"])
        if keep is not None:
            customer = np.where(frame.select(keep.fill_null(False)).to_series().to_numpy(), customer, -1)
        catalogues = {of: self.frames.get(f"{of}s", _empty_catalogue(of)) for of in ("product", "merchant")}
        described_by = "product" if self.dataset.categories_from == "products" else "merchant"
        return frame, customer, self.customers, self.dataset.zone, catalogues, described_by

    def customer_index(self, ids: pl.Series) -> np.ndarray:
        """Index into the customers table of each of `ids`, int64 [N], −1 for any other. Cheap where equal ones stand
        together: each run is looked up once."""
        fresh = (ids != ids.shift(1)).fill_null(True).arg_true()
        customers = self.frames["customers"].select("customer_id", customer=pl.int_range(pl.len(), dtype=pl.Int64))
        runs = ids.gather(fresh).to_frame("customer_id")
        found = runs.join(customers, on="customer_id", how="left", maintain_order="left")["customer"].fill_null(-1)
        return np.repeat(found.to_numpy(), np.diff(fresh.to_numpy(), append=np.uint32(len(ids))))

    def save(self, directory: Path) -> None:
        """Write one Parquet file a table and `dataset.json` into an empty or new folder; the caller publishes it."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, frame in self.frames.items():
            frame.write_parquet(directory / f"{name}.parquet")
        if self.protected.width:
            (directory / PROTECTED).mkdir()
            self.protected.write_parquet(directory / PROTECTED / f"{CUSTOMERS}.parquet")
        _describe(self.dataset, directory)

    @classmethod
    def load(cls, directory: Path, some: Block | Sample | None = None) -> Tables:
        """Read what `save` wrote, or some of the customers with all that belongs to them.

        Raises:
            FileNotFoundError: there is no `dataset.json` in the directory.
        """

        def read(file: Path) -> pl.DataFrame:
            if some is None:
                return pl.read_parquet(file)
            return some.of(pl.scan_parquet(file)).collect(engine="streaming")

        dataset = DatasetConfig(**json.loads((directory / DESCRIPTION).read_text(encoding="utf-8")))
        frames = {path.stem: read(path) for path in sorted(directory.glob("*.parquet"))}
        kept = directory / PROTECTED / f"{CUSTOMERS}.parquet"
        protected = read(kept) if kept.exists() else pl.DataFrame()
        parts = None if some is None else stored_parts(directory)
        return cls(dataset, frames, presorted=True, protected=protected, parts=parts)


@dataclass(frozen=True)
class StoredTables:
    """Contract tables that are made block by block, in the order of the customers; they wait in files.

    Attributes:
        dataset: the description.
        folder: a folder a table, a file a block.
    """

    dataset: DatasetConfig
    folder: Path

    def add(self, tables: Tables) -> None:
        """Put the next block below what is there; tables of things come once."""
        protected = {f"{PROTECTED}/{CUSTOMERS}": tables.protected} if tables.protected.width else {}
        for name, frame in {**tables.frames, **protected}.items():
            place = self.folder / name
            place.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(place / f"{len(list(place.glob('*.parquet'))):05}.parquet", compression="lz4")

    def scans(self) -> dict[str, pl.LazyFrame]:
        """Contract table → all its rows."""
        return {place.name: self._scan(place) for place in sorted(self.folder.iterdir()) if place.name != PROTECTED}

    def save(self, directory: Path) -> None:
        """Write what `Tables.save` writes; of a table no more than a part is in memory."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, rows in self.scans().items():
            rows.sink_parquet(directory / f"{name}.parquet", row_group_size=ROW_GROUP)
        protected = self.folder / PROTECTED / CUSTOMERS
        if protected.exists():
            (directory / PROTECTED).mkdir()
            self._scan(protected).sink_parquet(directory / PROTECTED / f"{CUSTOMERS}.parquet")
        _describe(self.dataset, directory)

    @staticmethod
    def _scan(place: Path) -> pl.LazyFrame:
        return pl.scan_parquet(sorted(place.glob("*.parquet")))


def _describe(dataset: DatasetConfig, directory: Path) -> None:
    (directory / DESCRIPTION).write_text(dataset.model_dump_json(indent=1), encoding="utf-8")


@lru_cache(maxsize=8)
def stored_parts(directory: Path) -> Mapping[str, bool]:
    """Part (`PARTS`) → whether the tables in a folder have it."""
    tables = {table for table, *_ in PARTS.values()}
    return _parts({path.stem: pl.scan_parquet(path) for path in directory.glob("*.parquet") if path.stem in tables})


def _parts(tables: Mapping[str, pl.LazyFrame]) -> Mapping[str, bool]:
    return {part: table in tables and has_part(part, tables[table]) for part, (table, *_) in PARTS.items()}


def _empty_catalogue(of: str) -> pl.DataFrame:
    return pl.DataFrame(schema={f"{of}_id": pl.String, **dict.fromkeys((*CATEGORIES, "brand"), pl.String)})
