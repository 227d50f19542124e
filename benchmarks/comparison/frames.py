"""How two tables differ: columns, types, order, nulls and values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

FIRST_ROWS = 5


@dataclass(frozen=True)
class Difference:
    """One column that differs.

    Attributes:
        where: file and column.
        reason: how it differs, with the first rows.
        largest: the largest absolute difference of two numbers (0 where numbers are not the matter).
    """

    where: str
    reason: str
    largest: float = 0.0


@dataclass(frozen=True)
class Compared:
    """The comparison of one part: its size and its differences."""

    what: str
    columns: int
    rows: int
    differences: tuple[Difference, ...]

    @property
    def largest(self) -> float:
        """Largest difference of two numbers, also where it was tolerated."""
        return max((d.largest for d in self.differences), default=0.0)


def folders(what: str, old: Path, new: Path) -> Compared:
    """Compare every Parquet file of a folder with the file of the same name in another, exactly."""
    names = {side: {f.name for f in folder.glob("*.parquet")} for side, folder in (("old", old), ("new", new))}
    differences = [Difference(name, f"only in {side}") for side, name in _one_sided(names["old"], names["new"])]
    columns = rows = 0
    for name in sorted(names["old"] & names["new"]):
        one, other = pl.read_parquet(old / name), pl.read_parquet(new / name)
        columns += one.width
        rows = max(rows, one.height)
        differences += frames(name.removesuffix(".parquet"), one, other)
    return Compared(what, columns, rows, tuple(differences))


def _one_sided(old: Iterable[str], new: Iterable[str]) -> list[tuple[str, str]]:
    old, new = set(old), set(new)
    return [*(("old", name) for name in sorted(old - new)), *(("new", name) for name in sorted(new - old))]


def frames(where: str, old: pl.DataFrame, new: pl.DataFrame, tolerance: float = 0.0) -> list[Difference]:
    """Differences of two frames, column by column. A tolerance of 0 asks for equal values.

    Args:
        where: name of the frame, for messages.
        old: the expected frame.
        new: the frame at hand.
        tolerance: two numbers may differ by `tolerance · max(1, |old|)`.
    """
    differences = [
        Difference(f"{where}.{name}", f"only in {side}") for side, name in _one_sided(old.columns, new.columns)
    ]
    if not differences and old.columns != new.columns:
        differences.append(Difference(where, "the columns stand in another order"))
    if old.height != new.height:
        return [*differences, Difference(where, f"{old.height} rows, now {new.height}")]
    key = old.columns[0]
    for name in old.columns:
        if name in new.columns:
            difference = _column(f"{where}.{name}", old[name], new[name], old[key], tolerance)
            differences += [difference] if difference is not None else []
    return differences


def _column(where: str, old: pl.Series, new: pl.Series, key: pl.Series, tolerance: float) -> Difference | None:
    if old.dtype != new.dtype:
        return Difference(where, f"type {old.dtype}, now {new.dtype}")
    if old.equals(new, check_dtypes=True, null_equal=True):
        return None
    rows = [i for i, (a, b) in enumerate(zip(old.to_list(), new.to_list(), strict=True)) if not _same(a, b, tolerance)]
    largest = _largest(old, new)
    if not rows:
        return None
    shown = "; ".join(
        f"row {i} ({key.name} {key[i]}): {_short(old[i])}, now {_short(new[i])}" for i in rows[:FIRST_ROWS]
    )
    return Difference(where, f"{len(rows)} of {len(old)} rows: {shown}", largest)


def _same(one: object, other: object, tolerance: float) -> bool:
    """Whether two values of a column are equal, or numbers within the tolerance; NaN equals NaN."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (one != one and other != other) or abs(one - other) <= tolerance * max(1.0, abs(one))
    return one == other


def _largest(old: pl.Series, new: pl.Series) -> float:
    """Largest absolute difference of the numbers of two columns, where both have one."""
    while isinstance(old.dtype, pl.List | pl.Array):
        old, new = old.explode(), new.explode()
    if not old.dtype.is_numeric() or len(old) != len(new):
        return 0.0
    gap = np.abs(old.cast(pl.Float64).to_numpy() - new.cast(pl.Float64).to_numpy())
    return float(np.nanmax(gap)) if np.isfinite(gap).any() else 0.0


def _short(value: object) -> str:
    text = str(value.to_list() if isinstance(value, pl.Series) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"
