"""`Window`: the events in [t, t + days). The only way to look at the future, for labels and for nothing else.

Frames are keyed by `customer`, the index into the customers table, and hold every customer of the data set: also those
who joined in the window. The past is a `View`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from feature_assets.data.encoding import Encoding
from feature_assets.data.lines import NEVER
from feature_assets.data.tables import Tables
from feature_assets.events.barrier import day_number, frame_before, frame_between, rows_between
from feature_assets.events.columns import DESCRIBED
from feature_assets.events.numbers import sum_at


class Window:
    """Events of the local days [start, start + days).

    Args:
        tables: the data set.
        start: first day.
        days: number of days ≥ 0.

    Attributes:
        dataset: the data set's description.
        start: first day.
        end: the day after the last one.
        customers: number of customers of the data set.
    """

    def __init__(self, tables: Tables, start: date, days: int) -> None:
        self._tables = tables
        self.dataset, self.customers = tables.dataset, tables.customers
        self.start, self.end = start, start + timedelta(days=days)

    def has(self, name: str) -> bool:
        """Whether contract table `name`, or a part of one (`PARTS`), was delivered."""
        return self._tables.has(name)

    def ids(self, customer: pl.Series) -> pl.Series:
        """The customer_id of each `customer`."""
        return self._tables.frames["customers"]["customer_id"].gather(customer)

    def _index(self, rows: Encoding) -> np.ndarray:
        """The rows that lie in the window, int64 [M] ascending."""
        return rows_between(rows, day_number(self.start), day_number(self.end), np.arange(self.customers))

    def events(self, table: str, columns: Sequence[str]) -> pl.DataFrame:
        """Rows of a table of events that became known in the window, in the table's order.

        Args:
            table: a contract table of events.
            columns: those of the table (for transactions also category_l1 … category_l3 and brand) that are wanted;
                ones that the data set does not have are left out.

        Returns:
            `customer` UInt32, `day` Date, and the columns.
        """
        rows = self._tables.encoding(table)
        return rows.frame(self._index(rows), [name for name in columns if self._offers(table, name)])

    def _offers(self, table: str, column: str) -> bool:
        return (table == "transactions" and column in DESCRIBED) or column in self._tables.encoding(table)

    def purchases(self, columns: Sequence[str]) -> pl.DataFrame:
        """Purchase lines in the order customer, instant, transaction id; `columns` as for `events`."""
        rows = self._tables.purchases
        return rows.frame(self._index(rows), columns)

    def baskets(self, columns: Sequence[str]) -> pl.DataFrame:
        """The first purchase line of each basket and day, in the order of time; `columns` as for `events`."""
        rows = self._tables.purchases
        index = self._index(rows)
        return rows.frame(index[rows.first_of_basket[index]], columns)

    def times(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Customer, days from the window's start and local hour in [0, 24) of each purchase line, in the order
        customer, instant: int64, int64, float64 [M] each."""
        rows = self._tables.purchases
        index = self._index(rows)
        since = rows.day[index].astype(np.int64) - day_number(self.start)
        return rows.customer[index], since, rows.values("hour", index)

    def first_purchases(self) -> pl.DataFrame:
        """First purchases of customers in a category_l1.

        `customer`, category_l1, `day`, `at`, `amount` (spent on the category at that instant), ordered by customer,
        instant, amount (largest first) and category.
        """
        lines, key = self._tables.purchases, ["customer", "category_l1"]
        index = self._index(lines)
        known = lines.codes("category_l1").numbers[index] >= 0
        pair = lines.pairs("category_l1").number[index]
        new = np.unique(pair[known & (lines.previous("category_l1")[index] == NEVER)])
        return (
            lines.frame(index[np.isin(pair, new)], ("category_l1", "at", "amount"))
            .group_by(key)
            .agg(pl.col("day", "at").min(), pl.col("amount").filter(pl.col("at") == pl.col("at").min()).sum().round(2))
            .sort("customer", "at", "amount", "category_l1", descending=[False, False, True, False])
        )

    def net_spend(self) -> np.ndarray:
        """Purchases less refunds of each customer of the data set, float64 [customers]."""
        lines, index = self._tables.transactions, self._spend()
        return sum_at(lines.customer[index], lines.values("amount", index), self.customers)

    def _spend(self) -> np.ndarray:
        lines = self._tables.transactions
        index = self._index(lines)
        return index[lines.spend[index]]

    def campaigns(self) -> pl.DataFrame:
        """The campaigns that started before the window's end."""
        return frame_before("campaigns", self._tables.frames["campaigns"], self.end)

    def campaign_starts(self) -> pl.DataFrame:
        """The campaigns that start in the window."""
        return frame_between("campaigns", self._tables.frames["campaigns"], self.start, self.end)

    def campaign_events(self) -> pl.DataFrame:
        """Campaign events in the order customer, instant: `customer`, `day`, `at`, campaign_id, event, and `is_control`
        Boolean: whether the campaign was withheld from the customer at random; null where that is not stated."""
        events = self.events("campaign_events", ("at", "campaign_id", "event", "is_control"))
        if "is_control" not in events.columns:
            return events.with_columns(is_control=pl.lit(None, pl.Boolean))
        return events

    def spend(self, columns: Sequence[str]) -> pl.DataFrame:
        """Purchases and refunds, whose amounts add up to net spend, in the order customer, instant, transaction id;
        `columns` as for `events`."""
        return self._tables.transactions.frame(self._spend(), columns)
