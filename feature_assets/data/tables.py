"""Validated contract tables, and the view of them that is known at an as-of date.

`Tables` holds a data set's contract tables; `View` is what was known of (a shard of) its customers strictly before an
as-of instant, with the joins that most feature groups share. Nothing of a group or a label belongs here.
Source: DATA §1, §2; ARCHITECTURE §2.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets.data.contract import CONTRACT, INFLOWS, OUTFLOWS, SPEND
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.encoding import Encoding, Lines
from feature_assets.data.known import DIMENSIONS
from feature_assets.data.local_time import local_clock

LEVELS = ("category_l1", "category_l2", "category_l3")
SORT_KEYS: dict[str, tuple[str, ...]] = {name: table.order or table.key for name, table in CONTRACT.items()}
"""The order of each contract table's rows: results never depend on the order of a delivery. What these leave open is
decided by the other columns."""

INSTANTS: dict[str, str] = {
    name: table.instant for name, table in CONTRACT.items() if table.instant is not None and table.of_customers
}
"""Table of events → the column that says when a row became known: an instant, or a local day (known after its end)."""


PARTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "inflows": ("transactions", "kind", INFLOWS),
    "outflows": ("transactions", "kind", OUTFLOWS),
    "refunds": ("transactions", "kind", ("refund",)),
    "overseas": ("transactions", "is_overseas", ()),
}
"""Source that is a part of a contract table → the table, the column, and the values of it, if only some count. A data
set has the part if its table has a row with such a value."""


def before(table: str, as_of: date, instant: datetime) -> pl.Expr:
    """Whether a row of `table` was known strictly before the as-of date t, whose local midnight is `instant`."""
    column = INSTANTS[table]
    return pl.col(column) < (pl.lit(as_of) if column != "at" else pl.lit(instant).cast(pl.Datetime("us", "UTC")))


def stable_shard(customer_ids: pl.Series, n: int) -> pl.Series:
    """Shard number in [0, n) of each customer: a hash that no version, machine or process changes.

    Args:
        customer_ids: String series of any length.
        n: number of shards, ≥ 1.
    """
    if n < 1:
        raise ValueError(f"number of shards is {n}, expected at least 1")
    numbers = [
        int.from_bytes(hashlib.blake2b(str(c).encode(), digest_size=8).digest(), "big") % n for c in customer_ids
    ]
    return pl.Series("shard", numbers, dtype=pl.UInt32)


def _empty_catalogue(of: str) -> pl.DataFrame:
    return pl.DataFrame(schema={f"{of}_id": pl.String, **dict.fromkeys((*LEVELS, "brand"), pl.String)})


def _ordered(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    keys = SORT_KEYS[name]
    more = [c for c in frame.columns if c not in keys] if name in ("sessions", "contacts") else []  # without a key
    return frame.sort(*keys, *more, nulls_last=True)


@dataclass(frozen=True)
class Tables:
    """The contract tables of a data set, validated, each in its stable order.

    Attributes:
        dataset: the description; its `tasks_off` also names tasks that this delivery cannot answer.
        frames: contract table → frame; a table that was not delivered is not in it.
        presorted: whether the frames are known to be in their stable order already.
    """

    dataset: DatasetConfig
    frames: dict[str, pl.DataFrame] = field(repr=False)
    presorted: InitVar[bool] = False

    def __post_init__(self, presorted: bool) -> None:
        if presorted:
            return
        ordered = {name: _ordered(name, frame) for name, frame in self.frames.items()}
        object.__setattr__(self, "frames", ordered)

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return self._has_part(name) if name in PARTS else name in self.frames

    def _has_part(self, name: str) -> bool:
        if name not in self._parts:
            table, column, values = PARTS[name]
            frame = self.frames.get(table)
            found = frame is not None and column in frame.columns
            if found and frame is not None:
                kept = frame[column].is_in(values) if values else frame[column].is_not_null()
                found = bool(kept.any())
            self._parts[name] = found
        return self._parts[name]

    @cached_property
    def _parts(self) -> dict[str, bool]:
        return {}

    def view(self, as_of: date, shard: tuple[int, int] | None = None) -> View:
        """What is known strictly before local midnight of `as_of` of all customers, or of shard (i, n)."""
        return View(self, as_of, shard)

    def save(self, directory: Path) -> None:
        """Write one Parquet file a table and `dataset.json`, beside and then renamed."""
        beside = directory.with_name(f".{directory.name}.writing")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, frame in self.frames.items():
            frame.write_parquet(beside / f"{name}.parquet")
        (beside / "dataset.json").write_text(self.dataset.model_dump_json(indent=1), encoding="utf-8")
        if directory.exists():
            old = directory.with_name(f".{directory.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            directory.rename(old)
            beside.rename(directory)
            shutil.rmtree(old)
        else:
            beside.rename(directory)

    @classmethod
    def load(cls, directory: Path) -> Tables:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no `dataset.json` in the directory.
        """
        dataset = DatasetConfig(**json.loads((directory / "dataset.json").read_text(encoding="utf-8")))
        return cls(dataset, {p.stem: pl.read_parquet(p) for p in sorted(directory.glob("*.parquet"))}, presorted=True)

    @cached_property
    def _encodings(self) -> dict[str, Encoding]:
        return {}

    def encoding(self, table: str) -> Encoding:
        """The rows of a table of events as arrays, made once."""
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
    def transactions(self) -> Lines:
        """The rows of the transactions table as arrays."""
        frame = self.frames["transactions"]
        customer = self.customer_index(frame["customer_id"])
        catalogues = {of: self.frames.get(f"{of}s", _empty_catalogue(of)) for of in ("product", "merchant")}
        described_by = "product" if self.dataset.categories_from == "products" else "merchant"
        return Lines(frame, customer, self.customers, self.dataset.zone, catalogues, described_by)

    @property
    def customers(self) -> int:
        """Number of customers of the data set."""
        return self.frames["customers"].height

    @cached_property
    def lines(self) -> pl.DataFrame:
        """All transactions with their category and brand, in the tables' order, with local time columns.

        Categories are those of the product or of the merchant, as the data set says; the brand is the product's, or
        where that is unknown the merchant's.

        `customer` UInt32 (index into the customers table), customer_id, basket_id, merchant_id, product_id, at,
        `day` Date, `weekday` Int8 (Monday 0), `hour` Float32 in [0, 24), amount, discount, quantity, channel, kind,
        category_l1, category_l2, category_l3, brand.
        """
        customer, lines = self.customer_index(self.frames["transactions"]["customer_id"]), self.frames["transactions"]
        if (customer < 0).any():
            lines, customer = lines.filter(customer >= 0), customer[customer >= 0]
        of = "product" if self.dataset.categories_from == "products" else "merchant"
        for by in ("product", "merchant"):
            columns = [f"{by}_id", f"{by}_brand", *(f"{by}_{level}" for level in LEVELS if by == of)]
            lines = lines.join(self.catalogue(by).select(columns), on=f"{by}_id", how="left", maintain_order="left")
        day, second = local_clock(lines["at"], self.dataset.zone)
        lines = lines.with_columns(
            *(pl.col(f"{of}_{level}").alias(level) for level in LEVELS),
            brand=pl.coalesce("product_brand", "merchant_brand"),
        )
        return lines.select(
            pl.Series("customer", customer.astype(np.uint32)),
            "customer_id",
            "basket_id",
            "merchant_id",
            "product_id",
            "at",
            pl.Series("day", day).cast(pl.Date),
            pl.Series("weekday", ((day + 3) % 7).astype(np.int8)),  # 1970-01-01 was a Thursday
            pl.Series("hour", (second / 3600).astype(np.float32)),
            "amount",
            "discount",
            "quantity",
            "channel",
            "kind",
            "category_l1",
            "category_l2",
            "category_l3",
            "brand",
        )

    def customer_index(self, ids: pl.Series) -> np.ndarray:
        """Index into the customers table of each of `ids`, int64 [N], −1 for any other. Cheap where equal ones stand
        together: each run is looked up once."""
        fresh = (ids != ids.shift(1)).fill_null(True).arg_true()
        customers = self.frames["customers"].select("customer_id", customer=pl.int_range(pl.len(), dtype=pl.Int64))
        runs = ids.gather(fresh).to_frame("customer_id")
        found = runs.join(customers, on="customer_id", how="left", maintain_order="left")["customer"].fill_null(-1)
        return np.repeat(found.to_numpy(), np.diff(fresh.to_numpy(), append=np.uint32(len(ids))))

    def catalogue(self, of: str) -> pl.DataFrame:
        """`<of>_id`, `<of>_category_l1`…, `<of>_brand` from the products or merchants table; empty without it."""
        columns = [*LEVELS, "brand"]
        if not self.has(f"{of}s"):
            return pl.DataFrame(schema={f"{of}_id": pl.String, **{f"{of}_{c}": pl.String for c in columns}})
        return self.frames[f"{of}s"].select(f"{of}_id", *(pl.col(c).alias(f"{of}_{c}") for c in columns))

    @cached_property
    def baskets(self) -> pl.DataFrame:
        """One row a basket of purchases (its lines of one local day), ordered by customer, instant and basket.

        `customer`, basket_id, at (first line), day, weekday, hour, amount (sum), `items` UInt32 (lines), merchant_id.
        A day is wholly before or wholly at or after every as-of instant, so a basket is as well.
        """
        return (
            self.lines.filter(pl.col("kind") == "purchase")
            .group_by("customer", "basket_id", "day", maintain_order=True)
            .agg(
                pl.col("at", "weekday", "hour").first(),
                pl.col("amount").sum(),
                pl.len().cast(pl.UInt32).alias("items"),
                pl.col("merchant_id").first(),
            )
            .sort("customer", "at", "basket_id")
        )

    @cached_property
    def daily_spend(self) -> pl.DataFrame:
        """Net spend (purchases and refunds) of each customer on each local day: `customer`, `day`, `amount`, in that
        order."""
        return (
            self.lines.filter(pl.col("kind").is_in(SPEND))
            .group_by("customer", "day", maintain_order=True)
            .agg(pl.col("amount").sum())
            .sort("customer", "day")
        )

    @cached_property
    def first_purchases(self) -> pl.DataFrame:
        """When each customer first bought in each category_l1: `customer`, category_l1, `day`, `at`, `amount` (spent on
        the category at that instant), ordered by customer, instant, amount (largest first) and category."""
        bought = self.lines.lazy().filter((pl.col("kind") == "purchase") & pl.col("category_l1").is_not_null())
        return (
            bought.group_by("customer", "category_l1")
            .agg(pl.col("day", "at").min(), pl.col("amount").filter(pl.col("at") == pl.col("at").min()).sum().round(2))
            .select("customer", "category_l1", "day", "at", "amount")
            .sort("customer", "at", "amount", "category_l1", descending=[False, False, True, False])
            .collect()
        )


class View:
    """What was known of customers strictly before an as-of instant.

    Attributes:
        dataset: the data set's description.
        as_of: the as-of date t.
        instant: local midnight of t, a UTC instant.
        zone: the data set's zone.
        customers: those with joined_on < t (of the shard), sorted by customer_id.
    """

    def __init__(self, tables: Tables, as_of: date, shard: tuple[int, int] | None = None) -> None:
        self._tables = tables
        self.dataset = tables.dataset
        self.as_of = as_of
        self.zone = tables.dataset.zone
        self.instant: datetime = tables.dataset.instant(as_of)
        everyone = tables.frames["customers"]
        known = everyone["joined_on"] < as_of
        if shard is not None:
            i, n = shard
            if not 0 <= i < n:
                raise ValueError(f"shard ({i}, {n}): expected 0 ≤ i < n")
            known = known & (stable_shard(everyone["customer_id"], n) == i)
        self.customers = everyone.filter(known)
        mask = known.to_numpy()
        rows = np.where(mask, np.cumsum(mask) - 1, 0).astype(np.uint32)
        self._known = pl.Series("known", mask)
        self._rows = pl.Series("row", rows)

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return self._tables.has(name)

    @cached_property
    def frames(self) -> dict[str, pl.DataFrame]:
        """Contract tables as known at t: events before t of the view's customers, all products and merchants, and the
        campaigns that had started before t."""
        ids = self.customers.select("customer_id")
        known: dict[str, pl.DataFrame] = {}
        for name, frame in self._tables.frames.items():
            if name == "customers":
                known[name] = self.customers
            elif name == "campaigns":
                known[name] = frame.filter(pl.col("starts_on") < self.as_of)
            elif name in INSTANTS:
                past = frame.filter(before(name, self.as_of, self.instant))
                known[name] = past.join(ids, on="customer_id", how="semi", maintain_order="left")
            else:
                known[name] = frame
        return known

    def _past(self, frame: pl.DataFrame) -> pl.DataFrame:
        keep = (frame["day"] < self.as_of) & self._known.gather(frame["customer"])
        past = frame.filter(keep)
        days_ago = (pl.lit(self.as_of) - pl.col("day")).dt.total_days().cast(pl.Int32)
        return past.select(
            self._rows.gather(past["customer"]).alias("row"),
            pl.exclude("customer"),
            days_ago.alias("days_ago"),
        )

    @cached_property
    def lines(self) -> pl.DataFrame:
        """Transaction lines before t, ordered by customer, instant, transaction id: the columns of `Tables.lines`
        without `customer`, with `row` UInt32 (index into `customers`) and `days_ago` Int32 ≥ 1 (t − day)."""
        return self._past(self._tables.lines)

    @cached_property
    def baskets(self) -> pl.DataFrame:
        """Baskets before t, ordered by customer, instant, basket: the columns of `Tables.baskets` without
        `customer`, with `row` UInt32 and `days_ago` Int32 ≥ 1."""
        return self._past(self._tables.baskets)
