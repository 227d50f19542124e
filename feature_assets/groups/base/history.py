"""The purchases of each customer as arrays, read by the parts of the base group and their kernels.

Lines (rows of the transactions table), visits (baskets) and purchase days, each sorted by customer and time, with
offsets. The order does not depend on the delivery. No statistic is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_assets.events.flows import flows
from feature_assets.events.lines import Window, window
from feature_assets.kernels.appearances import appearances

if TYPE_CHECKING:
    from feature_assets.data.tables import View

_DAY = np.uint64(0xD6E8FEB86659FD93)  # odd: spreads the days over 64 bits


@dataclass(frozen=True)
class Events:
    """Events of all customers: those of customer i are `start[i]:start[i+1]`, oldest first; `days_ago` ≥ 1."""

    start: np.ndarray
    days_ago: np.ndarray

    @property
    def size(self) -> int:
        return int(self.days_ago.size)

    def row(self) -> np.ndarray:
        """Customer index of each event."""
        return np.repeat(np.arange(self.start.size - 1), np.diff(self.start))

    def first(self) -> np.ndarray:
        """Days ago of each customer's first event, float64; NaN without one."""
        return self._at(self.start[:-1])

    def last(self) -> np.ndarray:
        """Days ago of each customer's last event, float64; NaN without one."""
        return self._at(self.start[1:] - 1)

    def _at(self, place: np.ndarray) -> np.ndarray:
        found = np.full(self.start.size - 1, np.nan)
        some = np.diff(self.start) > 0
        found[some] = self.days_ago[place[some]]
        return found


@dataclass(frozen=True)
class Codes:
    """A nominal value of each event as int32 index into `names`, −1 where unknown; the indices have no order."""

    values: np.ndarray
    names: Sequence[str]

    @property
    def n(self) -> int:
        return len(self.names)

    def among(self, vocabulary: Sequence[str], other: int) -> np.ndarray:
        """Place of each event's name in `vocabulary`, int32; `other` for one that is not in it, −1 for unknown."""
        place = {name: i for i, name in enumerate(vocabulary)}
        table = np.array([*(place.get(name, other) for name in self.names), -1], dtype=np.int32)
        return table[self.values]  # −1 picks the last entry

    def at(self, events: np.ndarray) -> Codes:
        return Codes(self.values[events], self.names)


@dataclass(frozen=True)
class History:
    """Purchases of `customers` customers before the as-of date.

    Attributes:
        customers: number of customers.
        tenure: [customers] days from the first known day (joining, or the start of the data) to t.
        lines: one event a purchase line; `line_amount` what was paid, `line_discount` taken off it, `line_visit` the
            visit it belongs to, its `channel`, `category_l1` and `category_l2`.
        visits: one event a basket; `visit_amount` its sum, `hour` in [0, 24), `weekday` Monday 0, `month_day` from 0,
            `month_days` of its month, `merchant`, and the day of `days` that it belongs to, `visit_day`.
        days: one event a day with a purchase; `day_amount` and `day_visits` of it.
        refunds: one event a refund line; `refund_amount` ≥ 0.
    """

    customers: int
    tenure: np.ndarray
    lines: Events
    line_amount: np.ndarray
    line_discount: np.ndarray
    line_visit: np.ndarray
    channel: Codes
    category_l1: Codes
    category_l2: Codes
    visits: Events
    visit_amount: np.ndarray
    visit_day: np.ndarray
    hour: np.ndarray
    weekday: np.ndarray
    month_day: np.ndarray
    month_days: np.ndarray
    merchant: Codes
    days: Events
    day_amount: np.ndarray
    day_visits: np.ndarray
    refunds: Events
    refund_amount: np.ndarray

    @classmethod
    def of(cls, view: View) -> History:
        """The history that `view` knows."""
        n = view.customers.height
        part = window(view)
        visit_of_line = _visits(part)
        order = None
        if np.any(np.diff(visit_of_line) < 0):  # lines of two visits lie mixed at one instant
            order = np.argsort(visit_of_line, kind="stable")
            visit_of_line = visit_of_line[order]

        def of_lines(values: np.ndarray) -> np.ndarray:
            return values if order is None else values[order]

        def codes(name: str) -> Codes:
            return Codes(of_lines(part.codes(name)), part.lines.codes(name)[1])

        row, days_ago = of_lines(part.row), of_lines(part.days_ago).astype(np.int64)
        amount = of_lines(part.values("amount"))
        first_line = np.flatnonzero(np.diff(visit_of_line, prepend=-1))
        visits = _events(row[first_line], days_ago[first_line], n)
        visit_amount = _sums(visit_of_line, amount, first_line.size)
        first_visit = np.flatnonzero(_starts(row[first_line], visits.days_ago))
        day_of_visit = np.cumsum(_starts(row[first_line], visits.days_ago)) - 1
        days = _events(row[first_line][first_visit], visits.days_ago[first_visit], n)
        position = of_lines(part.index)[first_line]
        month_day, month_days = _month(part.as_of - visits.days_ago)
        began = pl.max_horizontal("joined_on", pl.lit(view.dataset.covers_from))
        tenure = view.customers.select((pl.lit(view.as_of) - began).dt.total_days()).to_series().to_numpy()
        refund_row, refund_days_ago, refund_amount = _refunds(view)
        return cls(
            customers=n,
            tenure=np.fmax(tenure.astype(np.float64), days.first()),
            lines=_events(row, days_ago, n),
            line_amount=amount,
            line_discount=np.nan_to_num(of_lines(part.values("discount"))),
            line_visit=visit_of_line,
            channel=codes("channel"),
            category_l1=codes("category_l1"),
            category_l2=codes("category_l2"),
            visits=visits,
            visit_amount=visit_amount,
            visit_day=day_of_visit,
            hour=part.lines.values("hour")[position],
            weekday=part.lines.values("weekday")[position],
            month_day=month_day,
            month_days=month_days,
            merchant=codes("merchant_id").at(first_line),
            days=days,
            day_amount=_sums(day_of_visit, visit_amount, first_visit.size),
            day_visits=_sums(day_of_visit, np.ones(visit_amount.size), first_visit.size),
            refunds=_events(refund_row, refund_days_ago, n),
            refund_amount=refund_amount,
        )


def _starts(*keys: np.ndarray) -> np.ndarray:
    """True where an event differs from the one before it in any key, bool."""
    new = np.zeros(keys[0].size, dtype=np.bool_)
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    new[:1] = True
    return new


def _visits(part: Window) -> np.ndarray:
    """Visit number of each line, by first appearance: a visit is a customer's lines of one basket on one day."""
    day = part.days_ago.astype(np.uint64) * _DAY  # wraps round
    start = np.searchsorted(part.row, np.arange(part.customers + 1))
    return appearances(start, part.identities("basket_id") ^ day, np.ones(part.row.size, dtype=np.bool_))[0]


def _sums(place: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sums of `values` by `place`, added in their order; float64 [n] even where nothing is added."""
    return np.bincount(place, values, minlength=n).astype(np.float64, copy=False)


def _events(row: np.ndarray, days_ago: np.ndarray, customers: int) -> Events:
    counts = np.bincount(row, minlength=customers)
    return Events(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]), days_ago)


def _month(day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Day of the month from 0, and number of days of the month, of days since 1970-01-01."""
    dates = day.astype("datetime64[D]")
    month = dates.astype("datetime64[M]")
    first, after = month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]")
    return (dates - first).astype(np.int64), (after - first).astype(np.int64)


def _refunds(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customer, days ago and size (≥ 0) of the refund lines before t, oldest first."""
    past = flows(view)
    refund = np.flatnonzero(past.of(("refund",)))
    return past.row[refund], past.days_ago[refund], np.abs(past.amount[refund])
