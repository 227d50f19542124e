"""Text columns as numbers, and hierarchies of their values.

A number depends on the whole data set: it names a value and orders nothing. No feature may depend on which number a
value has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


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
class Paths:
    """Places of the values of a text column in a hierarchy.

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
