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

from feature_assets.tables import Tables, View, before

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
    """Purchase lines of `Tables.lines`, in its order; arrays of N lines, each made when first asked for."""

    def __init__(self, tables: Tables) -> None:
        lines = tables.lines
        purchases = (lines["kind"] == "purchase").fill_null(False)
        self._lines = lines if purchases.all() else lines.filter(purchases)
        self.customers = tables.frames["customers"].height
        self._codes: dict[str, tuple[np.ndarray, list[str]]] = {}
        self._pairs: dict[str, Pairs] = {}
        self._previous: dict[str, np.ndarray] = {}

    @cached_property
    def customer(self) -> np.ndarray:
        """Index into the customers table, int64 [N], ascending."""
        return self._lines["customer"].to_numpy().astype(np.int64)

    @cached_property
    def day(self) -> np.ndarray:
        """Local day as days since 1970-01-01, int32 [N]."""
        return self._lines["day"].to_physical().to_numpy()

    def values(self, name: str) -> np.ndarray:
        """A numeric column as float64 [N], NaN where null."""
        return self._lines[name].cast(pl.Float64).to_numpy()

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A text column as int32 numbers [N] (−1 = null) and the values that they stand for, in ascending order."""
        if name not in self._codes:
            column = self._lines[name].cast(pl.String)
            known = column.drop_nulls().unique().sort()
            numbers = column.cast(pl.Enum(known)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
            self._codes[name] = (numbers, known.to_list())
        return self._codes[name]

    @cached_property
    def _identities(self) -> dict[str, np.ndarray]:
        return {}

    def identities(self, name: str) -> np.ndarray:
        """Numbers uint64 [N] that are equal where a text column is: a hash of 64 bits, so only to be compared among
        few lines (those of one customer and day), and never to be ordered or kept."""
        if name not in self._identities:
            self._identities[name] = self._lines[name].hash(seed=0).to_numpy()
        return self._identities[name]

    def pairs(self, name: str) -> Pairs:
        """The lines grouped by (customer, value of `name`). `name` "day" or "week" groups by the local day or week
        (Monday first), any other is a text column, in ascending order (baskets: in the order of their first line)."""
        if name not in self._pairs:
            if name == "day":
                values = self.day.astype(np.int64)
            elif name == "week":
                values = (self.day.astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
            elif name == "basket_id":
                values = _by_appearance(self.identities(name))  # nearly all differ: too many for a vocabulary
            else:
                values = self.codes(name)[0].astype(np.int64)
            self._pairs[name] = _pairs(self.customer, values, self.customers)
        return self._pairs[name]

    def previous(self, name: str) -> np.ndarray:
        """Day on which the customer last bought the same value of `name` on an earlier line, int32 [N] (`NEVER`).

        It depends on earlier lines only, so it is known at every as-of date after the line.
        """
        if name not in self._previous:
            pairs = self.pairs(name)
            before, after = pairs.order[:-1], pairs.order[1:]
            same = pairs.number[before] == pairs.number[after]
            same &= pairs.number[after] < len(pairs.owner)  # nulls are not the same value
            result = np.full(len(self.day), NEVER, dtype=np.int32)
            result[after[same]] = self.day[before[same]]
            self._previous[name] = result
        return self._previous[name]


@dataclass(frozen=True)
class Pairs:
    """Lines grouped by customer and some value: P pairs, ascending with the customer."""

    number: np.ndarray  # [N] int64 pair of each line, P where the value is null
    order: np.ndarray  # [N] lines by pair, those of a pair in their own order
    owner: np.ndarray  # [P] customer
    start: np.ndarray  # [customers + 1] first pair of each customer


def _by_appearance(identities: np.ndarray) -> np.ndarray:
    """Numbers from 0 of equal values [N], in the order of their first place, int64 [N]."""
    _, first, inverse = np.unique(identities, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _pairs(customer: np.ndarray, values: np.ndarray, customers: int) -> Pairs:
    span = int(values.max(initial=0)) + 1
    null = values < 0
    key = np.where(null, customers * span, customer * span + values)  # nulls behind everything
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    first = np.ones(len(key), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    number = np.empty(len(key), dtype=np.int64)
    number[order] = np.cumsum(first) - 1
    owner = ordered[first] // span
    owner = owner[owner < customers]
    return Pairs(number, order, owner, np.searchsorted(owner, np.arange(customers + 1)))


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
        return cached(self, f"group {name}", lambda: Grouped(self, self.lines.pairs(name), name))


class Grouped:
    """Lines of a Window grouped by customer and some value: G groups that have a line, those of a customer together."""

    def __init__(self, part: Window, pairs: Pairs, name: str) -> None:
        self._part, self._pairs = part, pairs
        self._number = pairs.number[part.index]
        self._name = name

    @cached_property
    def _seen(self) -> np.ndarray:
        return np.flatnonzero(np.bincount(self._number, minlength=len(self._pairs.owner) + 1)[: len(self._pairs.owner)])

    @cached_property
    def row(self) -> np.ndarray:
        """Customer of each group, int64 [G]."""
        return self._part.row_of[self._pairs.owner[self._seen]]

    @cached_property
    def days_ago(self) -> np.ndarray:
        """Age of the youngest line of each group, int64 [G]."""
        youngest = np.zeros(len(self._pairs.owner) + 1, dtype=np.int64)
        youngest[self._number] = self._part.days_ago  # lines are in the order of time: the last one stays
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
        return largest[self._part.customer_of]


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


def to_frame(view: View, names: Sequence[str], matrix: np.ndarray) -> pl.DataFrame:
    """`customer_id` and one Float32 column a column of `matrix` [customers, C]; NaN becomes null, infinity raises."""
    if matrix.shape != (view.customers.height, len(names)):
        raise ValueError(f"matrix is {matrix.shape}, expected {(view.customers.height, len(names))}")
    if np.isinf(matrix).any():
        bad = [name for name, column in zip(names, matrix.T, strict=True) if np.isinf(column).any()]
        raise ValueError(f"infinite values in {bad[:5]}")
    values = np.ascontiguousarray(matrix.T, dtype=np.float32)
    columns = {name: pl.Series(name, values[i], nan_to_null=True) for i, name in enumerate(names)}
    return pl.DataFrame({"customer_id": view.customers["customer_id"], **columns})


def to_lists(name: str, values: np.ndarray) -> pl.Series:
    """An array [customers, …] as one List a customer, flat and row-major."""
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    dtype = pl.List(pl.Boolean) if values.dtype == bool else pl.List(pl.Float32)
    return pl.Series(name, flat if len(flat) else []).cast(dtype)
