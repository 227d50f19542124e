"""Accounts and holdings at an instant: the latest row that was known then.

A row of day d is known from d + 1 on. "At lag L" is what was known L days before t: the latest row with days_ago > L.
An account without a statement for `STALE` days is closed: its balance is no longer carried forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_assets.data.contract import PRODUCT_FAMILIES
from feature_assets.events.numbers import changes, ratio, sum_at
from feature_assets.events.ragged import Events

STALE = 100  # days; statements are quarterly at the rarest
MONTH = 31  # days between two levels of a series: a month-end lies between any two of them
KINDS = tuple(PRODUCT_FAMILIES)


def _numbers(events: Events, key: Sequence[np.ndarray]) -> np.ndarray:
    """The number 0 … of each row's (customer, key), for rows that stand together by them: int64 [M], ascending."""
    return np.cumsum(changes(events.row, *key)) - 1


@dataclass(frozen=True, eq=False)
class Series:
    """Rows of A accounts (or holdings) before t: those of an account together, oldest first."""

    events: Events
    account: np.ndarray  # [M] ascending

    @cached_property
    def start(self) -> np.ndarray:
        """First row of each account, int64 [A]."""
        return np.flatnonzero(changes(self.account))

    @cached_property
    def row(self) -> np.ndarray:
        """Customer of each account, int64 [A]."""
        return self.events.row[self.start]

    def _chosen(self, mask: np.ndarray) -> tuple[Events, np.ndarray]:
        """The rows of `mask` [M], and their accounts numbered anew."""
        return self.events.where(mask), np.cumsum(np.diff(self.account[mask], prepend=-1) != 0) - 1

    def latest(self, lag: int = 0) -> np.ndarray:
        """Row of each account that was its latest one at `lag`, int64 [A]; −1 where it had none."""
        known = sum_at(self.account, self.events.days_ago > lag, len(self.start)).astype(np.int64)
        return np.where(known > 0, self.start + known - 1, -1)


class Statements(Series):
    """End-of-day statements of accounts."""

    @classmethod
    def of_events(cls, known: Events) -> Statements:
        """The statements of the balances table."""
        return cls(known, _numbers(known, (known.codes("account_id"),)))

    def of(self, *kinds: str) -> Statements:
        """Those of accounts of these kinds."""
        return self.where(self.events.is_in("kind", *kinds))

    def where(self, mask: np.ndarray) -> Statements:
        """Those of `mask` [M]."""
        return Statements(*self._chosen(mask))

    @cached_property
    def balance(self) -> np.ndarray:
        """float64 [M]"""
        return self.events.values("balance")

    @cached_property
    def limit(self) -> np.ndarray:
        """float64 [M], NaN without one."""
        return self.events.values("limit")

    def _live(self, lag: int) -> tuple[np.ndarray, np.ndarray]:
        """Accounts that have a statement at `lag` which is not stale, and its row."""
        latest = self.latest(lag)
        live = (latest >= 0) & (self.events.days_ago[latest] <= lag + STALE) if len(latest) else latest >= 0
        return np.flatnonzero(live), latest[live]

    def accounts(self, lag: int = 0) -> np.ndarray:
        """Live accounts of each customer, float64 [customers]."""
        chosen, _ = self._live(lag)
        return np.bincount(self.row[chosen], minlength=self.events.customers).astype(np.float64)

    def level(self, lag: int = 0, values: np.ndarray | None = None) -> np.ndarray:
        """Sum of the balance (or other `values` [M] of the statements) of the live accounts, float64 [customers]; NaN
        without a live account."""
        chosen, latest = self._live(lag)
        values = self.balance if values is None else values
        sums = sum_at(self.row[chosen], values[latest], self.events.customers)
        return np.where(self.accounts(lag) > 0, sums, np.nan)

    def levels(self, months: int) -> list[np.ndarray]:
        """`level` at lags 0, 31, … 31 · months, newest first."""
        return [self.level(MONTH * month) for month in range(months + 1)]

    def levels_or_zero(self, months: int) -> list[np.ndarray]:
        """`levels` with 0 where a customer had no live account, while the data set reaches back that far."""
        levels = self.levels(months)
        return [np.nan_to_num(v) if not i or MONTH * i < self.events.history else v for i, v in enumerate(levels)]

    def steps(self) -> tuple[Events, np.ndarray]:
        """The statements that have one of the same account before them, and the change of balance since that one."""
        has = np.ones(len(self.account), dtype=bool)
        has[self.start] = False
        change = np.diff(self.balance, prepend=0.0)
        return self.events.where(has), change[has]


class Holdings(Series):
    """Products held, each as its latest row states it. The arrays are [H], one entry a holding."""

    @classmethod
    def of_events(cls, known: Events) -> Holdings:
        """The holdings of the holdings table."""
        return cls(known, _numbers(known, (known.codes("product_kind"), known.values("opened_on"))))

    def of(self, *families: str) -> Holdings:
        """Those of these families."""
        return self.of_kinds(*(kind for kind, family in PRODUCT_FAMILIES.items() if family in families))

    def of_kinds(self, *kinds: str) -> Holdings:
        """Those of these kinds."""
        return Holdings(*self._chosen(self.events.is_in("product_kind", *kinds)))

    @property
    def customers(self) -> int:
        return self.events.customers

    @cached_property
    def kind(self) -> np.ndarray:
        """Position in `KINDS`, int64."""
        return self.events.ranked("product_kind", KINDS)[self.start]

    @cached_property
    def age(self) -> np.ndarray:
        """Days since it was opened, float64 ≥ 1."""
        return self.events.as_of - self.events.values("opened_on")[self.start]

    @cached_property
    def closed_ago(self) -> np.ndarray:
        """Days since it was closed, float64, NaN while it is open."""
        return self.events.as_of - self.events.values("closed_on")[self.latest()]

    @property
    def open(self) -> np.ndarray:
        """bool"""
        return np.isnan(self.closed_ago)

    def _worth(self, lag: int) -> np.ndarray:
        """Balance of each holding at `lag`, 0 where it was not open or its balance is not stated."""
        latest = self.latest(lag)
        balance, closed = self.events.values("balance"), self.events.values("closed_on")
        stands = (latest >= 0) & np.isnan(closed[latest]) & ~np.isnan(balance[latest]) if len(latest) else latest >= 0
        return np.where(stands, balance[latest], 0.0) if len(latest) else np.zeros(0)

    def value(self, lag: int = 0) -> np.ndarray:
        """Sum of the balances of what was open at `lag`, float64 [customers]; NaN where the data set does not reach
        back that far."""
        if lag and lag >= self.events.history:
            return np.full(self.customers, np.nan)
        return self.total(self._worth(lag))

    def by_kind(self, kinds: Sequence[str]) -> np.ndarray:
        """Balance of what is open by kind, float64 [customers, len(kinds)]."""
        return np.stack([self.of_kinds(kind).value() for kind in kinds], axis=1)

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """Number of the holdings of `chosen`, float64 [customers]."""
        return np.bincount(self.row[chosen], minlength=self.customers).astype(np.float64)

    def total(self, values: np.ndarray) -> np.ndarray:
        return sum_at(self.row, values, self.customers)

    def mean(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Mean of `values` over the holdings of `chosen`, float64 [customers], NaN without one."""
        return ratio(self.total(np.where(chosen, values, 0.0)), self.count(chosen))

    def least(self, values: np.ndarray) -> np.ndarray:
        """Smallest of `values` that is not NaN, float64 [customers], NaN without one."""
        result = np.full(self.customers, np.inf)
        np.fmin.at(result, self.row, values)
        return np.where(np.isinf(result), np.nan, result)

    def kinds(self, chosen: np.ndarray) -> np.ndarray:
        """Which kinds are among the holdings of `chosen`, bool [customers, len(KINDS)]."""
        cell = self.row[chosen] * len(KINDS) + self.kind[chosen]
        return (np.bincount(cell, minlength=self.customers * len(KINDS)) > 0).reshape(self.customers, len(KINDS))

    def openings(self) -> tuple[np.ndarray, np.ndarray]:
        """Customer and days ago of every opening, customer by customer, oldest first."""
        order = np.lexsort((-self.age, self.row))
        return self.row[order], self.age[order].astype(np.int64)
