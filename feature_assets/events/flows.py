"""Each customer's purchase days, visits and other money flows as arrays with offsets, for models of its own series.

Events of customer i are `start[i]:start[i+1]`, oldest first; order comes from the transactions table, so sums along it
are the same bits in any shard. Nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets.data.contract import KINDS
from feature_assets.data.rows import Rows
from feature_assets.data.tables import Tables, View
from feature_assets.events.lines import cached, window


@dataclass(frozen=True)
class Days:
    """Days with a purchase: D days of all customers.

    Attributes:
        start: int64 [customers + 1].
        days_ago: int64 [D] ≥ 1, falling within a customer.
        amount: float64 [D] spent on the day.
        line: int64 [D + 1], first purchase line of each day (lines as in `_lines.window`).
    """

    start: np.ndarray
    days_ago: np.ndarray
    amount: np.ndarray
    line: np.ndarray


@dataclass(frozen=True)
class Visits:
    """Purchase lines of one customer at one instant: V visits, each at the merchant of its first line.

    Attributes:
        start: int64 [customers + 1].
        days_ago: int64 [V] ≥ 1.
        weekday: int64 [V], Monday 0.
        hour: float64 [V] in [0, 24).
        merchant: int32 [V], −1 unknown; a number names a merchant and orders nothing.
        line: int64 [V + 1], first purchase line of each visit.
    """

    start: np.ndarray
    days_ago: np.ndarray
    weekday: np.ndarray
    hour: np.ndarray
    merchant: np.ndarray
    line: np.ndarray


@dataclass(frozen=True)
class Flows:
    """Transactions that are no purchases: F flows, `kind` int64 [F] a place in `contract.KINDS`, `amount` as stated."""

    start: np.ndarray
    row: np.ndarray
    days_ago: np.ndarray
    amount: np.ndarray
    kind: np.ndarray

    def of(self, kinds: Sequence[str]) -> np.ndarray:
        """Whether each flow is of one of these kinds, bool [F]."""
        return _kind_in(self.kind, kinds)


def _kind_in(kind: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    return np.array([name in kinds for name in KINDS])[kind]


@dataclass(frozen=True)
class Moves:
    """Transactions that are no purchases: F of them, in the order customer, instant, transaction id.

    Attributes:
        customer: int64 [F], index into the customers table.
        day: int32 [F], local day as days since 1970-01-01.
        amount: float64 [F] as stated.
        kind: int64 [F], place in `contract.KINDS`.
    """

    customer: np.ndarray
    day: np.ndarray
    amount: np.ndarray
    kind: np.ndarray

    def kind_in(self, kinds: Sequence[str]) -> np.ndarray:
        """Whether each is of one of these kinds, bool [F]."""
        return _kind_in(self.kind, kinds)

    def of(self, kinds: Sequence[str]) -> Moves:
        """Those of these kinds."""
        chosen = np.flatnonzero(self.kind_in(kinds))
        return Moves(self.customer[chosen], self.day[chosen], self.amount[chosen], self.kind[chosen])


def moves(tables: Tables) -> Moves:
    """Refunds, inflows and outflows of a data set, made once."""

    def make() -> Moves:
        rows = Rows(tables, "transactions", pl.col("kind") != "purchase")
        return Moves(
            rows.customer,
            rows.day,
            rows.column("amount").cast(pl.Float64).to_numpy(),
            rows.column("kind").cast(pl.Enum(KINDS)).to_physical().cast(pl.Int64).to_numpy(),
        )

    return cached(tables, "moves", make)


def offsets(row: np.ndarray, customers: int) -> np.ndarray:
    """int64 [customers + 1] from the ascending customer index of each event."""
    return np.searchsorted(row, np.arange(customers + 1)).astype(np.int64)


def _cut(*keys: np.ndarray) -> np.ndarray:
    """Places at which any of the keys changes, and the end: int64."""
    new = np.zeros(len(keys[0]), dtype=np.bool_)
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    new[:1] = True
    return np.append(np.flatnonzero(new), len(new)).astype(np.int64)


def purchase_days(view: View) -> Days:
    """Purchase days before t, made once a View."""

    def make() -> Days:
        part = window(view)
        line = _cut(part.row, part.days_ago)
        first = line[:-1]
        number = np.repeat(np.arange(len(first)), np.diff(line))
        amount = np.bincount(number, part.values("amount"), minlength=len(first)).astype(np.float64, copy=False)
        return Days(offsets(part.row[first], part.customers), part.days_ago[first].astype(np.int64), amount, line)

    return cached(view, "purchase days", make)


def visits(view: View) -> Visits:
    """Visits before t, made once a View."""

    def make() -> Visits:
        part = window(view)
        line = _cut(part.row, part.values("at"))
        first = line[:-1]
        return Visits(
            offsets(part.row[first], part.customers),
            part.days_ago[first].astype(np.int64),
            part.values("weekday")[first].astype(np.int64),
            part.values("hour")[first],
            part.codes("merchant_id")[first],
            line,
        )

    return cached(view, "visits", make)


def flows(view: View) -> Flows:
    """Refunds, inflows and outflows before t, made once a View."""

    def make() -> Flows:
        past = moves(view._tables)
        known, row_of = view._known.to_numpy(), view._rows.to_numpy().astype(np.int64)
        as_of = window(view).as_of
        keep = np.flatnonzero((past.day < as_of) & known[past.customer])
        row = row_of[past.customer[keep]]
        start = offsets(row, view.customers.height)
        days_ago = (as_of - past.day[keep]).astype(np.int64)
        return Flows(start, row, days_ago, past.amount[keep], past.kind[keep])

    return cached(view, "flows", make)


def kinds_in(views: Sequence[View]) -> dict[str, int]:
    """How many flows of each kind lie before the dates of the views: what the data set can tell at all."""
    counts = np.zeros(len(KINDS), dtype=np.int64)
    for view in views:
        counts += np.bincount(flows(view).kind, minlength=len(KINDS))
    return {kind: int(count) for kind, count in zip(KINDS, counts, strict=True) if count}


def observed_days(view: View) -> np.ndarray:
    """Days of which the data tells something about each customer, int64 [customers]: from joining, or the beginning of
    the data, or its first purchase, to t."""

    def make() -> np.ndarray:
        began = pl.max_horizontal("joined_on", pl.lit(view.dataset.covers_from))
        known = view.customers.select((pl.lit(view.as_of) - began).dt.total_days()).to_series().to_numpy()
        days = purchase_days(view)
        first = np.zeros(len(known), dtype=np.int64)
        some = np.diff(days.start) > 0
        first[some] = days.days_ago[days.start[:-1][some]]
        return np.maximum(known.astype(np.int64), first)

    return cached(view, "observed days", make)


def calendar(view: View, days_ago: np.ndarray) -> np.ndarray:
    """Angle round the calendar month (first midnight 0) of days before t, radians float64."""
    dates = (window(view).as_of - days_ago).astype("datetime64[D]")
    month = dates.astype("datetime64[M]")
    first, after = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]")
    return 2 * np.pi * (dates - first).astype(np.float64) / (after - first).astype(np.float64)
