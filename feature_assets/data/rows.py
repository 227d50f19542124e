"""Rows of a table of events as plain arrays: whose they are and when, and its columns when asked for.

Nothing is cut at a date here: a data set's rows are numbered once, and `_lines.py`, `_events.py` and `_flows.py` cut
them a View.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl

from feature_assets.data.local_time import local_clock
from feature_assets.data.tables import INSTANTS, Tables


class Rows:
    """N rows of a table of events, of known customers, in the table's order.

    Args:
        keep: which rows; None for all.
    """

    def __init__(self, tables: Tables, table: str, keep: pl.Expr | None) -> None:
        self._frame, self._zone, self._time = tables.frames[table], tables.dataset.zone, INSTANTS[table]
        customer = tables.customer_index(self._frame["customer_id"])
        chosen = customer >= 0
        if keep is not None:
            chosen &= self._frame.select(keep.fill_null(False)).to_series().to_numpy()
        self._chosen = None if chosen.all() else pl.Series(chosen)
        self.customer: np.ndarray = customer if self._chosen is None else customer[chosen]
        """Index into the customers table, int64 [N], ascending."""

    def column(self, name: str) -> pl.Series:
        """A column of the table [N]."""
        return self._frame[name] if self._chosen is None else self._frame[name].filter(self._chosen)

    def __contains__(self, name: object) -> bool:
        return name in self._frame.columns

    @cached_property
    def _clock(self) -> tuple[np.ndarray, np.ndarray]:
        return local_clock(self.column("at"), self._zone)

    @cached_property
    def day(self) -> np.ndarray:
        """Local day as days since 1970-01-01, int32 [N]."""
        return self._clock[0] if self._time == "at" else self.column(self._time).to_physical().to_numpy()

    @property
    def second(self) -> np.ndarray:
        """Seconds of wall-clock time since local midnight, int32 [N]; only of a table of instants."""
        return self._clock[1]


def numbered(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """A text column as int32 numbers [N] (−1 = null) and the values that they stand for, in ascending order."""
    column = column.cast(pl.String)
    known = column.drop_nulls().unique().sort()
    numbers = column.cast(pl.Enum(known)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    return numbers, known.to_list()
