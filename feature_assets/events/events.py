"""Rows of any table of events as plain arrays, and the measures of them that several groups take.

`Coded` numbers a table once a data set; `Events` is its cut at a View: strictly before t, of the view's customers, in
the order customer, instant. Sums are `np.bincount`, which adds one row after the other, and matrices are added column
by column: the same bits in any shard. Purchases have their own arrays in `_lines.py`; what a statement or a holding
says at an instant belongs to `_statements.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from feature_assets.data.contract import INFLOWS, OUTFLOWS
from feature_assets.data.rows import Rows, numbered
from feature_assets.data.tables import INSTANTS, Tables, View
from feature_assets.events.lines import cached
from feature_assets.events.windows import maximum

_EPOCH = np.datetime64("1970-01-01")


class Coded:
    """Rows of a table of events; arrays of N rows, each made when first asked for.

    Args:
        columns: those that are looked at; the ones that the data set does not have are left out.
        keep: which rows; None for all.
        series: rows of the same customer and the same values of these columns stand together, oldest first; without
            any, rows are in the table's order: customer by customer, oldest first.
    """

    def __init__(
        self, tables: Tables, table: str, columns: Sequence[str], keep: pl.Expr | None, series: Sequence[str]
    ) -> None:
        found = Rows(tables, table, keep)
        self._rows = rows = pl.DataFrame([found.column(name) for name in columns if name in found])
        self._codes: dict[str, tuple[np.ndarray, list[str]]] = {}
        self._second = found.second if INSTANTS[table] == "at" else None
        self.day: np.ndarray = found.day
        """Local day as days since 1970-01-01, int32 [N]."""
        self.customer: np.ndarray = found.customer
        """Index into the customers table, int64 [N]."""
        if series:
            keys = [
                self.codes(name)[0] if rows[name].dtype == pl.String else rows[name].to_physical().to_numpy()
                for name in series
            ]
            order = np.lexsort((self.day, *keys[::-1], self.customer))
            self._rows, self.day, self.customer = self._rows[order], self.day[order], self.customer[order]
            self._second = None if self._second is None else self._second[order]
            self._codes = {name: (numbers[order], known) for name, (numbers, known) in self._codes.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._rows.columns

    @cached_property
    def hour(self) -> np.ndarray:
        """Local time of day in hours, float64 [N], in [0, 24)."""
        assert self._second is not None
        return (self._second // 60) / 60.0

    def values(self, name: str) -> np.ndarray:
        """A numeric column as float64 [N] (a Date as days since 1970-01-01), NaN where null."""
        return self._rows[name].to_physical().cast(pl.Float64).to_numpy()

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A text column as int32 numbers [N] (−1 = null) and the values that they stand for, in ascending order."""
        if name not in self._codes:
            self._codes[name] = numbered(self._rows[name])
        return self._codes[name]


@dataclass(frozen=True, eq=False)
class Events:
    """M rows of a table before t, customer by customer."""

    coded: Coded
    index: np.ndarray  # [M] positions in `coded`
    row: np.ndarray  # [M] int64 index into the view's customers
    days_ago: np.ndarray  # [M] int64 ≥ 1
    customers: int
    as_of: int  # days since 1970-01-01
    history: int  # days before t from which on the data set covers what happened

    def where(self, mask: np.ndarray) -> Events:
        """The rows of `mask` [M]."""
        kept = np.flatnonzero(mask)
        return replace(self, index=self.index[kept], row=self.row[kept], days_ago=self.days_ago[kept])

    def recent(self, days: int) -> Events:
        """The rows of the last `days` days."""
        return self.where(self.days_ago <= days)

    def values(self, name: str) -> np.ndarray:
        """A numeric column, float64 [M]; all NaN where the data set does not have it."""
        return self.coded.values(name)[self.index] if name in self.coded else np.full(len(self.index), np.nan)

    def codes(self, name: str) -> np.ndarray:
        return self.coded.codes(name)[0][self.index]

    def hour(self) -> np.ndarray:
        return self.coded.hour[self.index]

    def is_in(self, name: str, *values: str) -> np.ndarray:
        """Whether a text column has one of `values`, bool [M]."""
        numbers, known = self.coded.codes(name)
        return np.array([*(value in values for value in known), False])[numbers[self.index]]  # −1 picks the last one

    def of(self, name: str, *values: str) -> Events:
        """The rows whose text column has one of `values`."""
        return self.where(self.is_in(name, *values))

    def ranked(self, name: str, vocabulary: Sequence[str]) -> np.ndarray:
        """Position of a text column in `vocabulary`, int64 [M]; len(vocabulary) for any other value and null."""
        numbers, known = self.coded.codes(name)
        rank = {value: i for i, value in enumerate(vocabulary)}
        return np.array([*(rank.get(v, len(rank)) for v in known), len(rank)], dtype=np.int64)[numbers[self.index]]

    def count(self, days: int | None = None) -> np.ndarray:
        """Rows (of the last `days` days) of each customer, float64 [customers]."""
        row = self.row if days is None else self.row[self.days_ago <= days]
        return np.bincount(row, minlength=self.customers).astype(np.float64)

    def total(self, weights: np.ndarray, days: int | None = None) -> np.ndarray:
        """Sum of `weights` [M] (of the last `days` days) of each customer, float64 [customers]."""
        if days is None:
            return np.bincount(self.row, weights, minlength=self.customers).astype(np.float64)
        inside = self.days_ago <= days
        return np.bincount(self.row[inside], weights[inside], minlength=self.customers).astype(np.float64)

    def sum_of(self, name: str, days: int | None = None) -> np.ndarray:
        """Sum of a numeric column."""
        return self.total(self.values(name), days)

    def change(self, days: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Count (or sum of `weights`) of the last `days` days less that of as many days before, float64 [customers];
        NaN where the data set does not reach back that far."""
        if self.history < 2 * days:
            return np.full(self.customers, np.nan)
        weights = np.ones(len(self.row)) if weights is None else weights
        recent = self.total(weights, days)
        return recent - (self.total(weights, 2 * days) - recent)

    def days_since(self) -> np.ndarray:
        """Days since the last row, float64 [customers], NaN without one."""
        return -maximum(self.row, -self.days_ago.astype(np.float64), self.customers)

    def days_of(self) -> Events:
        """One row for each customer and day that has any (the first one of the day)."""
        fresh = np.ones(len(self.row), dtype=bool)
        fresh[1:] = (self.row[1:] != self.row[:-1]) | (self.days_ago[1:] != self.days_ago[:-1])
        return self.where(fresh)

    def gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """Customer and length in days of each step from one day with a row to the next one."""
        days = self.days_of()
        same = days.row[1:] == days.row[:-1]
        return days.row[1:][same], (days.days_ago[:-1] - days.days_ago[1:])[same].astype(np.float64)

    def gap_mean(self) -> np.ndarray:
        """Mean days from one day with a row to the next one; from two days on."""
        return moments(*self.gaps(), self.customers)[0]

    def gap_cv(self) -> np.ndarray:
        """Coefficient of variation of the gaps; from three days on. 0 is a clock, 1 is pure chance."""
        mean, deviation = moments(*self.gaps(), self.customers)
        return ratio(deviation, mean)

    def table(self, code: np.ndarray, width: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Count (or sum of `weights`) by customer and `code` [M] in [0, width), float64 [customers, width]."""
        flat = np.bincount(self.row * width + code, weights, minlength=self.customers * width)
        return flat.astype(np.float64).reshape(self.customers, width)


def events(
    view: View,
    table: str,
    columns: Sequence[str],
    key: str = "all",
    keep: pl.Expr | None = None,
    series: Sequence[str] = (),
) -> Events:
    """Rows of `table` before t of the view's customers (see `Coded`), numbered once a data set and cut once a View.
    `key` names the choice of columns and rows."""

    def cut() -> Events:
        coded = cached(view._tables, f"coded {table} {key}", lambda: Coded(view._tables, table, columns, keep, series))
        as_of = int((np.datetime64(view.as_of) - _EPOCH).astype(int))
        known, row_of = view._known.to_numpy(), view._rows.to_numpy().astype(np.int64)
        index = np.flatnonzero((coded.day < as_of) & known[coded.customer])
        row, days_ago = row_of[coded.customer[index]], as_of - coded.day[index].astype(np.int64)
        history = (view.as_of - view.dataset.covers_from).days
        return Events(coded, index, row, days_ago, view.customers.height, as_of, history)

    return cached(view, f"events {table} {key}", cut)


def flows(view: View) -> Events:
    """Inflows and outflows (transactions that buy nothing at a merchant): amount, kind."""
    moves = pl.col("kind").is_in([*INFLOWS, *OUTFLOWS])
    return events(view, "transactions", ("amount", "kind"), "flows", moves)


def sessions(view: View) -> Events:
    return events(view, "sessions", ("channel", "event", "seconds", "pages", "campaign_id"))


def contacts(view: View) -> Events:
    return events(view, "contacts", ("kind", "topic"))


def reached(view: View) -> Events:
    """Impressions, clicks and conversions."""
    shown = pl.col("event").is_in(["impression", "click", "conversion"])
    return events(view, "campaign_events", ("event",), "reached", shown)


def runs(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of an ascending `key` [M], and the position of each item's value among them."""
    fresh = np.ones(len(key), dtype=bool)
    fresh[1:] = key[1:] != key[:-1]
    return key[fresh], np.cumsum(fresh) - 1


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is not positive."""
    positive = whole > 0
    return np.where(positive, part / np.where(positive, whole, 1.0), np.nan)


def moments(row: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (NaN without a value) and standard deviation (NaN with fewer than two) at each row, float64 [n] each."""
    count = np.bincount(row, minlength=n).astype(np.float64)
    mean = ratio(np.bincount(row, values, minlength=n), count)
    square = np.bincount(row, (values - mean[row]) ** 2, minlength=n)
    return mean, np.where(count >= 2, np.sqrt(ratio(square, count)), np.nan)


def entropy(parts: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of the shares of the columns of `parts` [n, K] ≥ 0; NaN where all are 0."""
    total = np.zeros(len(parts))
    for part in parts.T:
        total = total + part
    result = np.zeros(len(parts))
    for part in parts.T:
        share = np.where(part > 0, ratio(part, total), 1.0)
        result = result - share * np.log(share)
    return np.where(total > 0, result, np.nan)
