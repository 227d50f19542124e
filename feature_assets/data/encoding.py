"""Rows of a table of events as plain arrays: their customers, local times, and columns as numbers.

Encoded once a data set and shared by every as-of date; nothing is cut at a date here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl

from feature_assets.data.codes import Codes
from feature_assets.data.known import KNOWN, SERIES
from feature_assets.data.local_time import local_clock


class Encoding:
    """N rows of a table of events, of known customers, in their stable order; each array is made when first asked for.

    Args:
        table: name of the contract table.
        frame: its rows.
        customer: index into the customers table of each row of `frame`, int64, −1 for rows that are left out.
        customers: number of customers.
        zone: name of the local time zone.
    """

    def __init__(self, table: str, frame: pl.DataFrame, customer: np.ndarray, customers: int, zone: str) -> None:
        self.table, self.customers = table, customers
        self._frame, self._zone = frame, zone
        self._kept = None if (customer >= 0).all() else pl.Series(customer >= 0)
        self._order: np.ndarray | None = None
        self.customer: np.ndarray = customer if self._kept is None else customer[customer >= 0]
        """Index into the customers table, int64 [N], ascending."""
        self._codes: dict[str, Codes] = {}
        if table in SERIES:
            self._stand_together(SERIES[table])

    def _stand_together(self, keys: Sequence[str]) -> None:
        """Order the rows by customer, keys and day."""
        values = [
            self.codes(key).numbers
            if self._frame[key].dtype == pl.String
            else self.column(key).to_physical().to_numpy()
            for key in keys
        ]
        order = np.lexsort((self.day, *values[::-1], self.customer))
        self.customer, self.day = self.customer[order], self.day[order]
        self._codes = {name: codes.at(order) for name, codes in self._codes.items()}
        self._order = order

    @cached_property
    def _place(self) -> np.ndarray | None:
        """Row of the frame that each row is, int64 [N]; None where all are in their places."""
        if self._kept is None:
            return self._order
        kept = np.flatnonzero(self._kept.to_numpy())
        return kept if self._order is None else kept[self._order]

    @property
    def in_time(self) -> bool:
        """Whether the rows of a customer stand in the order of time."""
        return self.table not in SERIES

    def __contains__(self, name: object) -> bool:
        return name in self._frame.columns

    def __len__(self) -> int:
        return len(self.customer)

    def column(self, name: str) -> pl.Series:
        """A column of the table [N]."""
        column = self._frame[name] if self._kept is None else self._frame[name].filter(self._kept)
        return column if self._order is None else column.gather(self._order)

    def frame(self, index: np.ndarray, columns: Sequence[str]) -> pl.DataFrame:
        """Rows `index` [M], ascending, in the table's own order: `customer` UInt32, `day` Date and `columns`."""
        if self._order is not None:
            index = index[np.argsort(self._order[index])]
        return pl.DataFrame(
            [
                pl.Series("customer", self.customer[index].astype(np.uint32)),
                pl.Series("day", self.day[index]).cast(pl.Date),
                *(self.picked(name, index) for name in columns),
            ]
        )

    def picked(self, name: str, index: np.ndarray) -> pl.Series:
        """A column of the rows `index`, in the table's type."""
        if name not in self:
            return self.codes(name).at(index).texts().alias(name)
        return self._frame[name].gather(index if self._place is None else self._place[index])

    @cached_property
    def start(self) -> np.ndarray:
        """First row of each customer, int64 [customers + 1]."""
        return np.searchsorted(self.customer, np.arange(self.customers + 1))

    @cached_property
    def _clock(self) -> tuple[np.ndarray, np.ndarray]:
        return local_clock(self.column("at"), self._zone)

    @cached_property
    def day(self) -> np.ndarray:
        """Local day as days since 1970-01-01, int32 [N]."""
        known = KNOWN[self.table]
        assert known.row is not None
        return self._clock[0] if known.is_instant else self.column(known.row).to_physical().to_numpy()

    @property
    def second(self) -> np.ndarray:
        """Seconds of wall-clock time since local midnight, int32 [N]; only of a table of instants."""
        return self._clock[1]

    def values(self, name: str, index: np.ndarray | None = None) -> np.ndarray:
        """A column of the rows `index` (by default of all) as float64, NaN where null: numbers, truth values (0, 1),
        days and instants (days, microseconds since 1970-01-01); also local `weekday` (Monday 0), `hour` in [0, 24) and
        `minute`, the hour in whole minutes."""
        chosen: slice | np.ndarray = slice(None) if index is None else index
        if name == "weekday":
            return ((self.day[chosen] + 3) % 7).astype(np.float64)  # 1970-01-01 was a Thursday
        if name == "hour":
            return (self.second[chosen] / 3600).astype(np.float32).astype(np.float64)
        if name == "minute":
            return (self.second[chosen] // 60) / 60.0
        if index is None:
            return self.column(name).to_physical().cast(pl.Float64).to_numpy()
        every = self._frame[name].to_physical().cast(pl.Float64).to_numpy()  # no copy of most columns
        return every[index if self._place is None else self._place[index]]

    def codes(self, name: str) -> Codes:
        """A text column as numbers."""
        if name not in self._codes:
            self._codes[name] = self._encode(name)
        return self._codes[name]

    def _encode(self, name: str) -> Codes:
        return Codes.of(self.column(name))
