"""Rows of a table of events as plain arrays: whose they are, when they happened, and its columns as numbers.

Encoded once a data set and shared by every as-of date; nothing is cut at a date here. The numbers of a text column
depend on the whole data set, so they are labels and nothing more: no feature may depend on which number a value has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from feature_assets.data.contract import SPEND
from feature_assets.data.known import KNOWN, SERIES
from feature_assets.data.local_time import local_clock
from feature_assets.kernels.appearances import appearances

NEVER: Final = -(1 << 30)
"""`previous` day of something that the customer had not bought before."""

CATEGORIES = ("category_l1", "category_l2", "category_l3")


@dataclass(frozen=True)
class Codes:
    """A text column as numbers.

    Attributes:
        numbers: int32 [N], −1 = null.
        names: the values that the numbers stand for, in ascending order.
    """

    numbers: np.ndarray
    names: Sequence[str]

    @classmethod
    def of(cls, column: pl.Series) -> Codes:
        """The codes of a text column [N]."""
        column = column.cast(pl.String)
        known = column.drop_nulls().unique().sort()
        numbers = column.cast(pl.Enum(known)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
        return cls(numbers, known.to_list())

    def at(self, index: np.ndarray) -> Codes:
        """The codes of the items `index` [M]."""
        return Codes(self.numbers[index], self.names)

    def is_in(self, values: Sequence[str]) -> np.ndarray:
        """Whether each value is one of `values`, bool [N]."""
        chosen = set(values)
        return np.array([*(name in chosen for name in self.names), False])[self.numbers]  # −1 picks the last entry

    def ranked(self, vocabulary: Sequence[str]) -> np.ndarray:
        """Position of each value in `vocabulary`, int64 [N]; len(vocabulary) for any other value and null."""
        rank = {value: i for i, value in enumerate(vocabulary)}
        return np.array([*(rank.get(name, len(rank)) for name in self.names), len(rank)], dtype=np.int64)[self.numbers]

    def among(self, vocabulary: Sequence[str], other: int) -> np.ndarray:
        """Position of each value in `vocabulary`, int32 [N]; `other` for any other value, −1 for null."""
        place = {value: i for i, value in enumerate(vocabulary)}
        return np.array([*(place.get(name, other) for name in self.names), -1], dtype=np.int32)[self.numbers]

    def texts(self) -> pl.Series:
        """The text column again, String [N]."""
        numbers = pl.Series(self.numbers, dtype=pl.Int32)
        return pl.Series(self.names, dtype=pl.String).gather(numbers.set(numbers < 0, None))


@dataclass(frozen=True)
class Pairs:
    """Rows grouped by customer and some value: P pairs, ascending with the customer.

    Attributes:
        number: pair of each row, int64 [N]; P where the value is null.
        owner: customer of each pair, int64 [P].
        start: first pair of each customer, int64 [customers + 1].
    """

    number: np.ndarray
    owner: np.ndarray
    start: np.ndarray


@dataclass(frozen=True)
class Paths:
    """Where the values of a text column lie in a hierarchy.

    Attributes:
        paths: the different paths, each from the top down to its first unknown level.
        path_of: position in `paths` of each value, int64 [values + 1], −1 where unknown; the last entry is that of
            null, whose number is −1.
    """

    paths: tuple[tuple[str, ...], ...]
    path_of: np.ndarray

    @classmethod
    def of(cls, levels: pl.DataFrame) -> Paths:
        """The paths of rows [values] whose columns are the levels, the highest first."""
        different = levels.unique().sort(levels.columns)
        paths = [_path(row) for row in different.iter_rows()]
        numbered = different.with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64))
        number = levels.join(numbered, on=levels.columns, how="left", nulls_equal=True, maintain_order="left")["number"]
        empty = np.array([len(path) == 0 for path in paths] + [True])
        path_of = np.append(number.to_numpy(), len(paths))
        return cls(tuple(paths), np.where(empty[path_of], -1, path_of))


def _path(values: Sequence[str | None]) -> tuple[str, ...]:
    known: list[str] = []
    for value in values:
        if value is None:
            break
        known.append(value)
    return tuple(known)


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
        self._taken = None if (customer >= 0).all() else pl.Series(np.flatnonzero(customer >= 0))
        self.customer: np.ndarray = customer if self._taken is None else customer[customer >= 0]
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
        taken = pl.Series(order) if self._taken is None else self._taken.gather(order)
        self._taken, self.customer = taken, self.customer[order]
        self._codes.clear()
        del self.day

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
        return self._frame[name] if self._taken is None else self._frame[name].gather(self._taken)

    def frame(self, index: np.ndarray, columns: Sequence[str]) -> pl.DataFrame:
        """Rows `index` [M], ascending, in the table's own order: `customer` UInt32, `day` Date and `columns`."""
        if self.table in SERIES and self._taken is not None:
            index = index[np.argsort(self._taken.gather(index).to_numpy())]
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
        return self._frame[name].gather(index if self._taken is None else self._taken.gather(index))

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
        column = self.column(name) if index is None else self.picked(name, index)
        return column.to_physical().cast(pl.Float64).to_numpy()

    def codes(self, name: str) -> Codes:
        """A text column as numbers."""
        if name not in self._codes:
            self._codes[name] = self._encode(name)
        return self._codes[name]

    def _encode(self, name: str) -> Codes:
        return Codes.of(self.column(name))


class Lines(Encoding):
    """Rows of the transactions table.

    Categories are those of the product or of the merchant, as the data set says; the brand is the product's, or where
    that is unknown the merchant's. All follow from a row's product and merchant, so that only these are numbered.

    Args:
        catalogues: "product" and "merchant" → the table that describes them, empty where it was not delivered.
        categories_of: the one of the two whose categories are those of a purchase.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        customer: np.ndarray,
        customers: int,
        zone: str,
        catalogues: Mapping[str, pl.DataFrame],
        categories_of: str,
    ) -> None:
        super().__init__("transactions", frame, customer, customers, zone)
        self._catalogues, self._categories_of = catalogues, categories_of
        self._pairs: dict[str, Pairs] = {}
        self._previous: dict[str, np.ndarray] = {}
        self._paths: dict[tuple[str, tuple[str, ...]], Paths] = {}
        self._identities: dict[str, np.ndarray] = {}

    @cached_property
    def purchase(self) -> np.ndarray:
        """Whether a row is a purchase, bool [N]; it is a refund or a flow of money otherwise."""
        return (self.column("kind") == "purchase").fill_null(False).to_numpy()

    @cached_property
    def spend(self) -> np.ndarray:
        """Whether a row is a purchase or a refund, bool [N]: the sum over both is net spend."""
        return self.column("kind").is_in(SPEND).fill_null(False).to_numpy()

    def _encode(self, name: str) -> Codes:
        if name == "brand":
            return self._brands()
        if name == "kind" and self.purchase.all():
            return Codes(np.zeros(len(self), dtype=np.int32), ["purchase"])
        if name in CATEGORIES:
            own = Codes.of(self._described(self._categories_of, name))
            return Codes(self._spread(self._categories_of, own.numbers), own.names)
        return super()._encode(name)

    @cached_property
    def first_of_basket(self) -> np.ndarray:
        """Whether a row is the first purchase of a basket on its day, bool [N]. Ids of baskets are compared by a hash
        of 64 bits among the rows of one customer."""
        day = self.day.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)  # odd: spreads the days over 64 bits
        previous = appearances(self.start, self.identities("basket_id") ^ day, self.purchase)[1]
        return self.purchase & (previous < 0)

    def _described(self, of: str, name: str) -> pl.Series:
        """What the catalogue says of each product or merchant that occurs, in the order of its number."""
        return self._joined(of, (name,))[name]

    def _joined(self, of: str, names: Sequence[str]) -> pl.DataFrame:
        ids = pl.DataFrame({f"{of}_id": pl.Series(self.codes(f"{of}_id").names, dtype=pl.String)})
        catalogue = self._catalogues[of].select(f"{of}_id", *names)
        return ids.join(catalogue, on=f"{of}_id", how="left", maintain_order="left").select(names)

    def _spread(self, of: str, numbers: np.ndarray) -> np.ndarray:
        """From a number a product or merchant to one a row, −1 without any."""
        return np.append(numbers, np.int32(-1))[self.codes(f"{of}_id").numbers]

    def _brands(self) -> Codes:
        product, merchant = self._described("product", "brand"), self._described("merchant", "brand")
        brands = Codes.of(pl.concat([product, merchant]))
        rows = self._spread("product", brands.numbers[: len(product)])
        rows = np.where(rows >= 0, rows, self._spread("merchant", brands.numbers[len(product) :]))
        seen = np.bincount(rows + 1, minlength=len(brands.names) + 1)[1:] > 0
        place = np.append(np.where(seen, np.cumsum(seen) - 1, -1), -1).astype(np.int32)
        return Codes(place[rows], [name for name, some in zip(brands.names, seen.tolist(), strict=True) if some])

    def paths(self, of: str, levels: Sequence[str]) -> Paths:
        """Paths of the products or merchants that occur by `levels` of their catalogue, in the order of their codes."""
        key = of, tuple(levels)
        if key not in self._paths:
            self._paths[key] = Paths.of(self._joined(of, levels))
        return self._paths[key]

    def identities(self, name: str) -> np.ndarray:
        """Numbers uint64 [N] that are equal where a text column is: a hash of 64 bits, so only to be compared among
        few rows (those of one customer), and never to be ordered or kept."""
        if name not in self._identities:
            self._identities[name] = self.column(name).hash(seed=0).to_numpy()
        return self._identities[name]

    def pairs(self, name: str) -> Pairs:
        """The purchases grouped by (customer, value of `name`), those of a customer in the order of their first row.
        `name` "day" or "week" groups by the local day or week (Monday first), any other is a text column."""
        if name not in self._pairs:
            self._group(name)
        return self._pairs[name]

    def previous(self, name: str) -> np.ndarray:
        """Day on which the customer last bought the same value of `name` on an earlier row, int32 [N] (`NEVER`).

        It depends on earlier rows only, so it is known at every as-of date after the row.
        """
        if name not in self._previous:
            self._group(name)
        return self._previous[name]

    def _group(self, name: str) -> None:
        known = self.purchase
        if name == "day":
            values = self.day.astype(np.uint64)
        elif name == "week":
            values = ((self.day + 3) // 7).astype(np.uint64)  # 1970-01-01 was a Thursday
        elif name == "basket_id":
            values = self.identities(name)  # nearly all differ: too many for a vocabulary
        else:
            codes = self.codes(name).numbers
            values, known = codes.astype(np.uint64), known & (codes >= 0)
        number, previous, start = appearances(self.start, values, known)
        self._pairs[name] = Pairs(number, np.repeat(np.arange(self.customers), np.diff(start)), start)
        self._previous[name] = np.where(previous >= 0, self.day[previous], np.int32(NEVER))
