"""Rows of the transactions table as plain arrays: purchases with their categories and brands, refunds, flows of money.

For each purchase the encoding knows the day on which the same customer last bought the same value before, so that
distinct counts of any window are two bincounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from feature_assets.data.codes import Codes, Paths
from feature_assets.data.contract import SPEND
from feature_assets.data.encoding import Encoding
from feature_assets.kernels.appearances import appearances

NEVER: Final = -(1 << 30)
"""`previous` day of a value that the customer had not bought before."""

CATEGORIES = ("category_l1", "category_l2", "category_l3")


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


class Lines(Encoding):
    """Rows of the transactions table, or of some of its kinds.

    Categories are those of the product or of the merchant, as the data set says; the brand is the product's, or where
    that is unknown the merchant's. All follow from a row's product and merchant, so that only these are numbered.

    Args:
        frame, customer, customers, zone: as of `Encoding`.
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
        self._paths: dict[tuple[str, tuple[str, ...]], Paths] = {}

    @cached_property
    def spend(self) -> np.ndarray:
        """Whether a row is a purchase or a refund, bool [N]: the sum over both is net spend."""
        return self.column("kind").is_in(SPEND).fill_null(False).to_numpy()

    def _encode(self, name: str) -> Codes:
        if name == "brand":
            return self._brands()
        if name in CATEGORIES:
            own = Codes.of(self._described(self._categories_of, name))
            return Codes(self._spread(self._categories_of, own.numbers), own.names)
        return super()._encode(name)

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


class Purchases(Lines):
    """The purchases among the rows of the transactions table."""

    @cached_property
    def _pairs(self) -> dict[str, Pairs]:
        return {}

    @cached_property
    def _previous(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _identities(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def first_of_basket(self) -> np.ndarray:
        """Whether a row is the first one of a basket on its day, bool [N]. Ids of baskets are compared by a hash of 64
        bits among the rows of one customer."""
        day = self.day.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)  # odd: spreads the days over 64 bits
        known = np.ones(len(self), dtype=np.bool_)
        return appearances(self.start, self.identities("basket_id") ^ day, known)[1] < 0

    def identities(self, name: str) -> np.ndarray:
        """Numbers uint64 [N] that are equal where a text column is: a hash of 64 bits, so only to be compared among
        few rows (those of one customer), and never to be ordered or kept."""
        if name not in self._identities:
            self._identities[name] = self.column(name).hash(seed=0).to_numpy()
        return self._identities[name]

    def pairs(self, name: str) -> Pairs:
        """The rows grouped by (customer, value of `name`), those of a customer in the order of their first row.
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
        known = np.ones(len(self), dtype=np.bool_)
        if name == "day":
            values = self.day.astype(np.uint64)
        elif name == "week":
            values = ((self.day + 3) // 7).astype(np.uint64)  # 1970-01-01 was a Thursday
        elif name == "basket_id":
            values = self.identities(name)  # nearly all differ: too many for a vocabulary
        else:
            codes = self.codes(name).numbers
            values, known = codes.astype(np.uint64), codes >= 0
        number, previous, start = appearances(self.start, values, known)
        self._pairs[name] = Pairs(number, np.repeat(np.arange(self.customers), np.diff(start)), start)
        self._previous[name] = np.where(previous >= 0, self.day[previous], np.int32(NEVER))
