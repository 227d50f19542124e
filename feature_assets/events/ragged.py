"""`Events`: the events of each customer before t, and the window operations that groups share.

The one ragged type of the package: purchases, money flows, sessions, statements and days are views of it. Events stand
customer by customer, oldest first (statements account by account, and those oldest first). Sums are `sum_at`,
which adds one event after the other: the same bits in any shard, order of rows or number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from feature_assets.data.lines import NEVER
from feature_assets.events.columns import Columns, Population
from feature_assets.events.grouped import Grouped
from feature_assets.events.numbers import changes, maximum, moments, ratio, sum_at
from feature_assets.events.windows import Windows


@dataclass(frozen=True, eq=False)
class Events:
    """M events of the n customers of a view; those of customer i are `start[i]:start[i+1]`, oldest first.

    Attributes:
        row: index into the view's customers, int64 [M] ascending.
        days_ago: days from the event's local day to t, int32 [M] ≥ 1.
        columns: the columns of the table, gathered when asked for.
        population: who the view's customers are in the data set.
        as_of: t in days since 1970-01-01.
        history: days before t from which on the data set covers what happened.
    """

    row: np.ndarray
    days_ago: np.ndarray
    columns: Columns
    population: Population
    as_of: int
    history: int

    @property
    def customers(self) -> int:
        """Number of customers n."""
        return len(self.population.customer_of)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def start(self) -> np.ndarray:
        """First event of each customer, and M: int64 [n + 1]."""
        return np.searchsorted(self.row, np.arange(self.customers + 1)).astype(np.int64, copy=False)

    # Columns

    def values(self, name: str) -> np.ndarray:
        """A numeric column, float64 [M]; all NaN where the data set does not have it."""
        return self.columns.values(name)

    def codes(self, name: str) -> np.ndarray:
        """A text column as numbers, int32 [M], −1 = null. A number names a value and orders nothing."""
        return self.columns.codes(name).numbers

    def names(self, name: str) -> Sequence[str]:
        """The values that the numbers of a text column stand for."""
        return self.columns.names(name)

    def has(self, name: str) -> bool:
        """Whether the data set has the column."""
        return name in self.columns

    def is_in(self, name: str, *values: str) -> np.ndarray:
        """Whether a text column has one of `values`, bool [M]."""
        return self.columns.codes(name).is_in(values)

    def ranked(self, name: str, vocabulary: Sequence[str]) -> np.ndarray:
        """Position of a text column in `vocabulary`, int64 [M]; len(vocabulary) for any other value and null."""
        return self.columns.codes(name).ranked(vocabulary)

    def weekday(self) -> np.ndarray:
        """Local weekday, int64 [M], Monday 0."""
        return (self.as_of - self.days_ago.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday

    def identities(self, name: str) -> np.ndarray:
        """Numbers uint64 [M] that are equal where a text column is; see `Purchases.identities`."""
        return self.columns.purchases.identities(name)[self.columns.index]

    def previous_days_ago(self, name: str) -> np.ndarray:
        """Days before t on which the customer last bought the same `name` on an earlier line, int32 [M]; a number
        beyond every window if never (see `first_ever`)."""
        return self.as_of - self.columns.purchases.previous(name)[self.columns.index]

    def first_ever(self, name: str) -> np.ndarray:
        """Whether a line is the customer's first one with its value of `name`, bool [M]; False where it has none."""
        return (self.columns.purchases.previous(name)[self.columns.index] == NEVER) & (self.codes(name) >= 0)

    def frame(self, *columns: str) -> pl.DataFrame:
        """`row` UInt32, `days_ago` Int32 and the columns as they stand in the table."""
        taken = self.columns.frame(columns)
        return pl.DataFrame(
            [pl.Series("row", self.row.astype(np.uint32)), pl.Series("days_ago", self.days_ago), *taken.iter_columns()]
        )

    # Choices of events

    def take(self, chosen: np.ndarray) -> Events:
        """The events at the positions `chosen`, int64, in the order given: it must leave customers together."""
        return replace(self, row=self.row[chosen], days_ago=self.days_ago[chosen], columns=self.columns.at(chosen))

    def where(self, mask: np.ndarray) -> Events:
        """The events of `mask` [M]."""
        return self.take(np.flatnonzero(mask))

    def recent(self, days: int) -> Events:
        """The events of the last `days` days."""
        return self.where(self.days_ago <= days)

    def of(self, name: str, *values: str) -> Events:
        """The events whose text column has one of `values`."""
        return self.where(self.is_in(name, *values))

    def days_of(self) -> Events:
        """One event for each customer and day that has any (the first one of the day)."""
        return self.where(changes(self.row, self.days_ago))

    def runs(self, *keys: np.ndarray) -> Runs:
        """Runs of neighbouring events of one customer that are equal in all of `keys` [M]."""
        first = np.flatnonzero(changes(self.row, *keys))
        own = self.take(first)
        return Runs(
            own.row, own.days_ago, own.columns, own.population, own.as_of, own.history, np.append(first, len(self))
        )

    # Measures of each customer

    def count(self, days: int | None = None) -> np.ndarray:
        """Events (of the last `days` days) of each customer, float64 [n]."""
        row = self.row if days is None else self.row[self.days_ago <= days]
        return sum_at(row, None, self.customers)

    def total(self, weights: np.ndarray, days: int | None = None) -> np.ndarray:
        """Sum of `weights` [M] (of the last `days` days) of each customer, float64 [n]."""
        if days is None:
            return sum_at(self.row, weights, self.customers)
        inside = self.days_ago <= days
        return sum_at(self.row[inside], weights[inside], self.customers)

    def sum_of(self, name: str, days: int | None = None) -> np.ndarray:
        """Sum of a numeric column."""
        return self.total(self.values(name), days)

    def change(self, days: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Count (or sum of `weights`) of the last `days` days less that of as many days before, float64 [n]; NaN where
        the data set does not reach back that far."""
        if self.history < 2 * days:
            return np.full(self.customers, np.nan)
        weights = np.ones(len(self.row)) if weights is None else weights
        recent = self.total(weights, days)
        return recent - (self.total(weights, 2 * days) - recent)

    def maximum(self, values: np.ndarray) -> np.ndarray:
        """Largest of `values` [M] of each customer, float64 [n]; NaN without one."""
        return maximum(self.row, values, self.customers)

    def days_since(self) -> np.ndarray:
        """Days since the last event, float64 [n], NaN without one."""
        return -self.maximum(-self.days_ago.astype(np.float64))

    def days_since_first(self) -> np.ndarray:
        """Days since the first event, float64 [n], NaN without one."""
        return self.maximum(self.days_ago.astype(np.float64))

    def gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """Customer and length in days of each step from one day with an event to the next one."""
        days = self.days_of()
        same = days.row[1:] == days.row[:-1]
        return days.row[1:][same], (days.days_ago[:-1] - days.days_ago[1:])[same].astype(np.float64)

    def gap_mean(self) -> np.ndarray:
        """Mean days from one day with an event to the next one; from two days on."""
        return moments(*self.gaps(), self.customers)[0]

    def gap_cv(self) -> np.ndarray:
        """Coefficient of variation of the gaps; from three days on. 0 is a clock, 1 is pure chance."""
        mean, deviation = moments(*self.gaps(), self.customers)
        return ratio(deviation, mean)

    def table(self, code: np.ndarray, width: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Count (or sum of `weights`) by customer and `code` [M] in [0, width), float64 [n, width]."""
        flat = sum_at(self.row * width + code, weights, self.customers * width)
        return flat.reshape(self.customers, width)

    def windows(self, days: Sequence[int]) -> Windows:
        """Sums, maxima and distinct counts over several windows at once."""
        return Windows(self.row, self.days_ago, self.customers, days)

    # Groups of purchases

    @cached_property
    def _groups(self) -> dict[str, Grouped]:
        return {}

    def group(self, name: str) -> Grouped:
        """Purchases grouped by (customer, value of `name`); see `Purchases.pairs`."""
        if name not in self._groups:
            pairs = self.columns.purchases.pairs(name)
            self._groups[name] = Grouped(pairs, pairs.number[self.columns.index], self.days_ago, self.population)
        return self._groups[name]


@dataclass(frozen=True, eq=False)
class Runs(Events):
    """Runs of neighbouring events (lines) of a customer: each run is an event with the columns of its first line.

    Attributes:
        line: first line of each run, and the number of lines: int64 [M + 1].
    """

    line: np.ndarray

    def run_of_line(self) -> np.ndarray:
        """The run of each line, int64 [lines]."""
        return np.repeat(np.arange(len(self)), np.diff(self.line))

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Sum of `weights` [lines] of each run, float64 [M]."""
        return sum_at(self.run_of_line(), weights, len(self))
