"""Purchase lines as plain arrays: encoded once a data set, cut once a View, shared by the groups.

Two things make a group's sums the same bits in any shard, order or number of threads: rows are always in the order
customer, instant, transaction id, and sums over them are `np.bincount`, which adds one row after the other.

`Encoded` numbers the text columns and, for each line, knows the day on which the same customer last bought the same
thing before (so that distinct counts of any window are two bincounts). Numbers depend on the whole data set and are
only ever used as labels: no feature depends on which number a value got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl

from feature_assets.data.rows import Rows, numbered
from feature_assets.data.tables import LEVELS, Tables, View, before
from feature_assets.kernels.appearances import appearances

NEVER: Final = -(1 << 30)
"""`previous` day of something that the customer had not bought before."""

_EPOCH: Final = np.datetime64("1970-01-01")
_T = TypeVar("_T")


def cached(owner: Any, key: str, make: Callable[[], _T]) -> _T:
    """`make()` kept on `owner` (a View or Tables) under `key`: it lives exactly as long as its owner."""
    store: dict[str, Any] = owner.__dict__.setdefault("_shared_arrays", {})
    if key not in store:
        store[key] = make()
    return store[key]


class Encoded:
    """Purchase lines of the transactions table, in its order; arrays of N lines, each made when first asked for.

    Categories are those of the product or of the merchant, as the data set says; the brand is the product's, or where
    that is unknown the merchant's. Both follow from the line's product and merchant, so that only these are numbered.
    """

    def __init__(self, tables: Tables) -> None:
        self._rows = Rows(tables, "transactions", pl.col("kind") == "purchase")
        self._catalogues = {of: tables.catalogue(of) for of in ("product", "merchant")}
        self._categories_of = "product" if tables.dataset.categories_from == "products" else "merchant"
        self.customers = tables.frames["customers"].height
        self._codes: dict[str, tuple[np.ndarray, list[str]]] = {}
        self._pairs: dict[str, Pairs] = {}
        self._previous: dict[str, np.ndarray] = {}

    @property
    def customer(self) -> np.ndarray:
        """Index into the customers table, int64 [N], ascending."""
        return self._rows.customer

    @property
    def day(self) -> np.ndarray:
        """Local day as days since 1970-01-01, int32 [N]."""
        return self._rows.day

    @cached_property
    def _start(self) -> np.ndarray:
        return np.searchsorted(self.customer, np.arange(self.customers + 1))

    def values(self, name: str) -> np.ndarray:
        """A numeric column as float64 [N], NaN where null; also `weekday` (Monday 0) and `hour` in [0, 24), local."""
        if name == "weekday":
            return ((self.day + 3) % 7).astype(np.float64)  # 1970-01-01 was a Thursday
        if name == "hour":
            return (self._rows.second / 3600).astype(np.float32).astype(np.float64)
        return self._rows.column(name).cast(pl.Float64).to_numpy()

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A text column as int32 numbers [N] (−1 = null) and the values that they stand for, in ascending order."""
        if name not in self._codes:
            if name == "brand":
                self._codes[name] = self._brands()
            elif name in LEVELS:
                own = numbered(self._described(self._categories_of, name))
                self._codes[name] = self._spread(self._categories_of, own[0]), own[1]
            else:
                self._codes[name] = numbered(self._rows.column(name))
        return self._codes[name]

    def _described(self, of: str, name: str) -> pl.Series:
        """What the catalogue says of each product or merchant that was bought (at), in the order of its number."""
        ids = pl.DataFrame({f"{of}_id": pl.Series(self.codes(f"{of}_id")[1], dtype=pl.String)})
        found = ids.join(self._catalogues[of], on=f"{of}_id", how="left", maintain_order="left")
        return found[f"{of}_{name}"]

    def _spread(self, of: str, numbers: np.ndarray) -> np.ndarray:
        """From a number a product or merchant to one a line, −1 without any."""
        return np.append(numbers, np.int32(-1))[self.codes(f"{of}_id")[0]]

    def _brands(self) -> tuple[np.ndarray, list[str]]:
        product, merchant = self._described("product", "brand"), self._described("merchant", "brand")
        numbers, known = numbered(pl.concat([product, merchant]))
        lines = self._spread("product", numbers[: len(product)])
        lines = np.where(lines >= 0, lines, self._spread("merchant", numbers[len(product) :]))
        seen = np.bincount(lines + 1, minlength=len(known) + 1)[1:] > 0
        place = np.append(np.where(seen, np.cumsum(seen) - 1, -1), -1).astype(np.int32)
        return place[lines], [name for name, some in zip(known, seen.tolist(), strict=True) if some]

    @cached_property
    def _identities(self) -> dict[str, np.ndarray]:
        return {}

    def identities(self, name: str) -> np.ndarray:
        """Numbers uint64 [N] that are equal where a text column is: a hash of 64 bits, so only to be compared among
        few lines (those of one customer), and never to be ordered or kept."""
        if name not in self._identities:
            self._identities[name] = self._rows.column(name).hash(seed=0).to_numpy()
        return self._identities[name]

    def pairs(self, name: str) -> Pairs:
        """The lines grouped by (customer, value of `name`), those of a customer in the order of their first line.
        `name` "day" or "week" groups by the local day or week (Monday first), any other is a text column."""
        if name not in self._pairs:
            self._group(name)
        return self._pairs[name]

    def previous(self, name: str) -> np.ndarray:
        """Day on which the customer last bought the same value of `name` on an earlier line, int32 [N] (`NEVER`).

        It depends on earlier lines only, so it is known at every as-of date after the line.
        """
        if name not in self._previous:
            self._group(name)
        return self._previous[name]

    def _group(self, name: str) -> None:
        known = np.ones(len(self.day), dtype=np.bool_)
        if name == "day":
            values = self.day.astype(np.uint64)
        elif name == "week":
            values = ((self.day + 3) // 7).astype(np.uint64)  # 1970-01-01 was a Thursday
        elif name == "basket_id":
            values = self.identities(name)  # nearly all differ: too many for a vocabulary
        else:
            codes = self.codes(name)[0]
            values, known = codes.astype(np.uint64), codes >= 0
        number, previous, start = appearances(self._start, values, known)
        self._pairs[name] = Pairs(number, np.repeat(np.arange(self.customers), np.diff(start)), start)
        self._previous[name] = np.where(previous >= 0, self.day[previous], np.int32(NEVER))


@dataclass(frozen=True)
class Pairs:
    """Lines grouped by customer and some value: P pairs, ascending with the customer."""

    number: np.ndarray  # [N] int64 pair of each line, P where the value is null
    owner: np.ndarray  # [P] customer
    start: np.ndarray  # [customers + 1] first pair of each customer


def encoded(tables: Tables) -> Encoded:
    """The encoded purchase lines of a data set, made once."""
    return cached(tables, "encoded", lambda: Encoded(tables))


@dataclass(frozen=True)
class Window:
    """Lines of a View that are at most `longest` days old; M lines, customer by customer, oldest first."""

    lines: Encoded
    index: np.ndarray  # [M] positions in `lines`
    row: np.ndarray  # [M] int64 index into the view's customers
    days_ago: np.ndarray  # [M] int32 ≥ 1
    customers: int
    as_of: int  # days since 1970-01-01
    row_of: np.ndarray  # index into the data set's customers → index into the view's (0 where it has none)
    customer_of: np.ndarray  # [customers] the other way round

    def values(self, name: str) -> np.ndarray:
        return cached(self, name, lambda: self.lines.values(name)[self.index])

    def codes(self, name: str) -> np.ndarray:
        return cached(self, f"codes {name}", lambda: self.lines.codes(name)[0][self.index])

    def identities(self, name: str) -> np.ndarray:
        """See `Encoded.identities`."""
        return self.lines.identities(name)[self.index]

    def previous_days_ago(self, name: str) -> np.ndarray:
        """How many days before t the customer last bought the same `name` on an earlier line; huge if never."""
        return self.as_of - self.lines.previous(name)[self.index]

    def ranked(self, name: str, vocabulary: Sequence[str]) -> np.ndarray:
        """Position of each line's value in `vocabulary`, int64 [M]; len(vocabulary) for any other value and null."""
        rank = {value: i for i, value in enumerate(vocabulary)}
        table = np.array([rank.get(v, len(rank)) for v in self.lines.codes(name)[1]] + [len(rank)], dtype=np.int64)
        return table[self.codes(name)]  # −1 (null) picks the last entry

    def group(self, name: str) -> Grouped:
        """The lines grouped by (customer, value of `name`); see `Encoded.pairs`."""
        return cached(self, f"group {name}", lambda: Grouped(self, self.lines.pairs(name)))


class Grouped:
    """Lines of a Window grouped by customer and some value: G groups that have a line, those of a customer together.

    It is kept on the Window and so does not hold it: a circle of the two would keep a finished View's arrays until
    Python looks for circles, which it seldom does among few and large objects.
    """

    def __init__(self, part: Window, pairs: Pairs) -> None:
        self._pairs, self._row_of, self._customer_of = pairs, part.row_of, part.customer_of
        self._number = pairs.number[part.index]
        self._days_ago = part.days_ago

    @cached_property
    def _seen(self) -> np.ndarray:
        return np.flatnonzero(np.bincount(self._number, minlength=len(self._pairs.owner) + 1)[: len(self._pairs.owner)])

    @cached_property
    def row(self) -> np.ndarray:
        """Customer of each group, int64 [G]."""
        return self._row_of[self._pairs.owner[self._seen]]

    @cached_property
    def days_ago(self) -> np.ndarray:
        """Age of the youngest line of each group, int64 [G]."""
        youngest = np.zeros(len(self._pairs.owner) + 1, dtype=np.int64)
        youngest[self._number] = self._days_ago  # lines are in the order of time: the last one stays
        return youngest[self._seen]

    def _all_sums(self, weights: np.ndarray | None) -> np.ndarray:
        pairs = len(self._pairs.owner)
        return np.bincount(self._number, weights, minlength=pairs + 1)[:pairs].astype(np.float64, copy=False)

    def sums(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Sum of `weights` [M] (or count) of the lines of each group, float64 [G]."""
        return self._all_sums(weights)[self._seen]

    def largest(self, weights: np.ndarray) -> np.ndarray:
        """The largest sum of `weights` [M] ≥ 0 over a group of the customer, float64 [customers]; 0 without a group."""
        sums = np.append(self._all_sums(weights), 0.0)  # one more, so that the last customers may have no group
        start = self._pairs.start
        largest = np.where(start[1:] > start[:-1], np.maximum.reduceat(sums, start[:-1]), 0.0)
        return largest[self._customer_of]


def window(view: View, longest: int | None = None) -> Window:
    """The lines before t that are at most `longest` days old (all of them by default), made once a View."""

    def cut() -> Window:
        lines = encoded(view._tables)
        as_of = int((np.datetime64(view.as_of) - _EPOCH).astype(int))
        known, row_of = view._known.to_numpy(), view._rows.to_numpy().astype(np.int64)
        keep = (lines.day < as_of) & known[lines.customer]
        if longest is not None:
            keep &= lines.day >= as_of - longest
        index = np.flatnonzero(keep)
        days_ago = as_of - lines.day[index]
        row = row_of[lines.customer[index]]
        return Window(lines, index, row, days_ago, view.customers.height, as_of, row_of, np.flatnonzero(known))

    return cached(view, f"window {longest}", cut)


def past_events(view: View, table: str) -> pl.DataFrame:
    """A table of events as known at t: its rows before t of the view's customers, with `row` Int64 (index into
    `view.customers`), in the table's order. Cheaper than `view.frames` where one small table is wanted."""
    rows = view.customers.select("customer_id", row=pl.int_range(pl.len(), dtype=pl.Int64))
    past = view._tables.frames[table].filter(before(table, view.as_of, view.instant))
    return past.join(rows, on="customer_id", how="inner", maintain_order="left")


def top_by_spend(views: Sequence[View], name: str, k: int) -> list[str]:
    """The k values of a text column with the most spend before the views' dates, most first (ties by name)."""
    spend: dict[str, float] = {}
    for view in views:
        part = window(view)
        codes, known = part.codes(name), part.lines.codes(name)[1]
        sums = np.bincount(codes + 1, part.values("amount"), minlength=len(known) + 1)[1:]
        for value, amount in zip(known, sums.tolist(), strict=True):
            if amount > 0:
                spend[value] = spend.get(value, 0.0) + amount
    return sorted(spend, key=lambda value: (-spend[value], value))[:k]
