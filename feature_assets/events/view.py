"""`View`: the data known of customers strictly before an as-of instant. The only way of a feature group to its data.

Arrays that several groups share are properties, computed on first use and kept as long as the View. The future is read
through `Window`, by labels only; the cut at t itself stands in `barrier.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import polars as pl

from feature_assets.data.codes import Paths
from feature_assets.data.contract import INFLOWS, OUTFLOWS
from feature_assets.data.encoding import Encoding
from feature_assets.data.shards import stable_shard
from feature_assets.data.tables import Tables
from feature_assets.events.barrier import day_number, frame_before, rows_between
from feature_assets.events.campaigns import REACHED, Exposures, exposures
from feature_assets.events.columns import Columns, Population
from feature_assets.events.daily import DailySeries, daily_series
from feature_assets.events.purchases import LINE_COLUMNS, PurchaseDays, purchase_days, visits
from feature_assets.events.ragged import Events, Runs
from feature_assets.events.statements import Holdings, Statements

P = ParamSpec("P")
T = TypeVar("T")


class View:
    """The data known of customers before the local midnight of t.

    Args:
        tables: the data set.
        as_of: the as-of date t.
        shard: (i, n): only the customers of shard i of n; None for all.

    Attributes:
        dataset: the data set's description.
        as_of: t.
        day: t in days since 1970-01-01.
        history: days before t from which on the data set covers what happened, at least 1.
        customers: those with joined_on < t (of the shard), sorted by customer_id; one row a customer.
    """

    def __init__(self, tables: Tables, as_of: date, shard: tuple[int, int] | None = None) -> None:
        self._tables = tables
        self.dataset, self.as_of, self.day = tables.dataset, as_of, day_number(as_of)
        self.history = max(self.day - day_number(tables.dataset.covers_from), 1)
        everyone = tables.frames["customers"].with_row_index("row")
        known = frame_before("customers", everyone, as_of)
        if shard is not None:
            i, n = shard
            if not 0 <= i < n:
                raise ValueError(f"shard ({i}, {n}): expected 0 ≤ i < n")
            known = known.filter(stable_shard(known["customer_id"], n) == i)
        self.customers: pl.DataFrame = known.drop("row")
        customer_of = known["row"].to_numpy().astype(np.int64)
        row_of = np.zeros(tables.customers, dtype=np.int64)
        row_of[customer_of] = np.arange(len(customer_of))
        self.population = Population(customer_of, row_of)
        self._recent: dict[int, Events] = {}
        self._daily: dict[int, DailySeries] = {}
        self._shared: dict[tuple[object, ...], object] = {}

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return self._tables.has(name)

    # Things

    @property
    def merchants(self) -> pl.DataFrame:
        """The contract table of merchants."""
        return self._tables.frames["merchants"]

    @property
    def products(self) -> pl.DataFrame:
        """The contract table of products."""
        return self._tables.frames["products"]

    @cached_property
    def campaigns(self) -> pl.DataFrame:
        """The campaigns that started before t; `ends_on` is null while one goes on."""
        return frame_before("campaigns", self._tables.frames["campaigns"], self.as_of)

    def catalogue_paths(self, of: str, levels: Sequence[str]) -> Paths:
        """Places of products or merchants (`of` "product", "merchant") by columns of their table, in the order of the
        numbers of `<of>_id` in `purchases`."""
        return self._tables.purchases.paths(of, levels)

    # Events

    def events(
        self,
        table: str,
        columns: Sequence[str],
        where: Mapping[str, Sequence[str]] | None = None,
        longest: int | None = None,
    ) -> Events:
        """The rows of a table of events that were known before t, of the view's customers.

        Args:
            table: a contract table of events.
            columns: those that will be asked for; of transactions also category_l1, category_l2, category_l3 and brand.
            where: text column → the values that count.
            longest: days before t that are looked at; None for all.

        Returns:
            Events in the order customer, instant (statements: customer, account or holding, day).
        """
        rows = self._tables.encoding(table)
        index = self._rows(rows, longest)
        for name, values in (where or {}).items():
            index = index[rows.codes(name).at(index).is_in(values)]
        return self._cut(rows, columns, index)

    def _rows(self, rows: Encoding, longest: int | None = None) -> np.ndarray:
        """The rows of the view's customers that were known before t, at most `longest` days ago: int64 [M]."""
        first = None if longest is None else self.day - longest
        return rows_between(rows, first, self.day, self.population.customer_of)

    def _cut(self, rows: Encoding, columns: Sequence[str], index: np.ndarray) -> Events:
        row, days_ago = self.population.row_of[rows.customer[index]], self.day - rows.day[index]
        cut = Columns(rows, index, self.day, frozenset(columns))
        return Events(row, days_ago, cut, self.population, self.day, self.history)

    @cached_property
    def purchases(self) -> Events:
        """Purchase lines in the order customer, instant, transaction id; every column of the table, category_l1 …
        category_l3 and brand."""
        rows = self._tables.purchases
        return self._cut(rows, LINE_COLUMNS, self._rows(rows))

    def recent_purchases(self, days: int) -> Events:
        """The purchase lines of the last `days` days."""
        if days not in self._recent:
            rows = self._tables.purchases
            self._recent[days] = self._cut(rows, LINE_COLUMNS, self._rows(rows, days))
        return self._recent[days]

    def net_spend(self, days: int) -> np.ndarray:
        """Purchases less refunds of the last `days` days, float64 [n]."""
        rows = self._tables.transactions
        index = self._rows(rows, days)
        return self._cut(rows, ("amount",), index[rows.spend[index]]).sum_of("amount")

    def baskets(self, days: int) -> Events:
        """The first purchase line of each basket and day of the last `days` days, in the order of time."""
        lines = self.recent_purchases(days)
        return lines.where(self._tables.purchases.first_of_basket[lines.columns.index])

    @cached_property
    def purchase_days(self) -> PurchaseDays:
        """Days with a purchase, and what was spent on them."""
        return purchase_days(self.purchases)

    @cached_property
    def visits(self) -> Runs:
        """Purchase lines of one customer at one instant."""
        return visits(self.purchases)

    @cached_property
    def flows(self) -> Events:
        """Transactions that are no purchases: refunds, inflows and outflows; columns amount and kind."""
        rows = self._tables.flows
        return self._cut(rows, ("amount", "kind"), self._rows(rows))

    @cached_property
    def money_flows(self) -> Events:
        """Inflows and outflows: transactions that buy nothing at a merchant; columns amount and kind."""
        return self.flows.of("kind", *INFLOWS, *OUTFLOWS)

    @cached_property
    def sessions(self) -> Events:
        """Visits to the web site and the app; columns channel, event, seconds, pages, campaign_id."""
        return self.events("sessions", ("channel", "event", "seconds", "pages", "campaign_id"))

    @cached_property
    def contacts(self) -> Events:
        """Contacts of customers with the company; columns kind, topic."""
        return self.events("contacts", ("kind", "topic"))

    @cached_property
    def campaign_events(self) -> Events:
        """Impressions, clicks and conversions; columns campaign_id, event."""
        return self.events("campaign_events", ("campaign_id", "event"), {"event": REACHED})

    @cached_property
    def exposures(self) -> Exposures:
        """The campaigns that reached each customer, and whether they were answered."""
        return exposures(self.campaign_events, self.campaigns if self.has("campaigns") else None)

    @cached_property
    def statements(self) -> Statements:
        """End-of-day statements of accounts."""
        return Statements.of_events(self.events("balances", ("account_id", "balance", "limit", "kind")))

    @cached_property
    def holdings(self) -> Holdings:
        """Products held, as the latest statements say."""
        return Holdings.of_events(self.events("holdings", ("product_kind", "opened_on", "closed_on", "balance")))

    # Days

    @cached_property
    def began(self) -> np.ndarray:
        """First day of which the data can tell something of each customer: joining, or the beginning of the data; in
        days since 1970-01-01, int64 [n]."""
        joined = self.customers["joined_on"].to_physical().to_numpy().astype(np.int64)
        return np.maximum(joined, self.day - self.history)

    def joined_days(self, days: int) -> np.ndarray:
        """Whether a customer had joined on each of the last `days` days, oldest first: bool [n, days]."""
        tenure = self.day - self.customers["joined_on"].to_physical().to_numpy()
        return np.arange(days, 0, -1)[None, :] <= tenure[:, None]

    @cached_property
    def observed_days(self) -> np.ndarray:
        """Days of which the data tells something about each customer, int64 [n]: from `began`, or the first purchase,
        to t."""
        days, observed = self.purchase_days, self.day - self.began
        some = np.diff(days.start) > 0
        observed[some] = np.maximum(observed[some], days.days_ago[days.start[:-1][some]])
        return observed

    def daily_series(self, longest: int) -> DailySeries:
        """The customers' days, at most `longest` days back."""
        if longest not in self._daily:
            money = self.money_flows.recent(longest)
            self._daily[longest] = daily_series(self.recent_purchases(longest), money, self.began, longest)
        return self._daily[longest]

    def shared(self, make: Callable[Concatenate[View, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`make(view, …)`, computed once a View: for intermediate results that only a few groups share.

        Args:
            make: a function of a module; it must not keep the View.
            args, kwargs: its further arguments, hashable.
        """
        key = make, *args, *kwargs.items()
        if key not in self._shared:
            self._shared[key] = make(self, *args, **kwargs)
        return cast(T, self._shared[key])
