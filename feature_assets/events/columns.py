"""The columns of some rows of a table of events, each gathered from the data set's encoding when first asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets.data.codes import Codes
from feature_assets.data.encoding import Encoding
from feature_assets.data.lines import CATEGORIES, Purchases
from feature_assets.events.barrier import column_before, values_before

CLOCK = ("weekday", "hour", "minute")
"""What the instant of an event gives beside its own columns, local: see `Encoding.values`."""
DESCRIBED = (*CATEGORIES, "brand")
"""What the product or the merchant gives to a line of the transactions table."""


@dataclass(frozen=True)
class Population:
    """The customers of a view among those of the data set.

    Attributes:
        customer_of: index into the data set's customers of each of the view's n customers, int64 [n] ascending.
        row_of: index into the view's customers of each of the data set's, int64; 0 where it is not in the view.
    """

    customer_of: np.ndarray
    row_of: np.ndarray


class Columns:
    """Columns of M rows of a table as they were known at t.

    Args:
        rows: the encoded table.
        index: which rows, int64 [M].
        t: as-of day in days since 1970-01-01.
        declared: the columns that may be asked for.
    """

    def __init__(self, rows: Encoding, index: np.ndarray, t: int, declared: Collection[str]) -> None:
        self._rows, self._t, self._declared = rows, t, declared
        self.index = index
        self._gathered: dict[str, np.ndarray] = {}
        self._numbered: dict[str, Codes] = {}

    def at(self, chosen: np.ndarray) -> Columns:
        """The columns of the items `chosen` (int64 positions among the M)."""
        return Columns(self._rows, self.index[chosen], self._t, self._declared)

    def __contains__(self, name: object) -> bool:
        """Whether the data set has the column."""
        self._check(str(name))
        return name in self._rows

    def _check(self, name: str) -> None:
        if name not in self._declared:
            raise KeyError(
                f"column {name!r} of {self._rows.table} was not asked for; these were: {sorted(self._declared)}"
            )

    def values(self, name: str) -> np.ndarray:
        """A numeric column as float64 [M], NaN where null; all NaN where the data set does not have it."""
        if name not in self._gathered:
            if name not in CLOCK:
                self._check(name)
            there = name in CLOCK or name in self._rows
            self._gathered[name] = (
                values_before(self._rows, name, self.index, self._t) if there else np.full(len(self.index), np.nan)
            )
        return self._gathered[name]

    def codes(self, name: str) -> Codes:
        """A text column as numbers [M]. Numbers name a value and order nothing."""
        if name not in self._numbered:
            self._check(name)
            self._numbered[name] = self._rows.codes(name).at(self.index)
        return self._numbered[name]

    def frame(self, names: Sequence[str]) -> pl.DataFrame:
        """Columns in the types of the table; ones that the data set does not have are left out."""
        for name in names:
            self._check(name)
        offered = [name for name in names if name in DESCRIBED or name in self._rows]
        return pl.DataFrame([column_before(self._rows, name, self.index, self._t) for name in offered])

    @property
    def purchases(self) -> Purchases:
        """The encoded purchases, where these are some of them."""
        if not isinstance(self._rows, Purchases):
            raise TypeError(f"these rows of {self._rows.table} are not known to be purchases")
        return self._rows

    def names(self, name: str) -> Sequence[str]:
        """The values that the numbers of a text column stand for."""
        return self.codes(name).names
