"""Kinds of damage to a delivery of any source, drawn by a seed, and what each of them may touch.

Damage to rows spares all others; damage to a column spares what a cast keeps; damage to a table may cost all of it.
`Damaged` remembers which rows were touched, so that a test can demand that nothing else changes. Damage to the folder
belongs to `places.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from tests.deliveries.makers import Frames, write
from tests.deliveries.places import PLACES, Place, place_of

ORIGIN, HURT = "fuzz_origin", "fuzz_hurt"
"""Place of a row in the sound table (−1: added), and whether it was changed. Neither is delivered."""


@dataclass
class Damaged:
    """A delivery in the making.

    Attributes:
        dataset, declared: of the source.
        sound: the tables as they were drawn.
        frames: as damaged so far, with `ORIGIN` and `HURT`.
        loose: tables of which any value may have changed or gone.
        broken: table → bytes that stand in the place of its (first) file.
        parts: number of files a table; None: one file of the table's name.
        int96: tables whose times are written in 96 bits.
        merged: whole numbers that floats stand for which stand for others as well: none of them may be read.
        places: damage to the folder, with its table and seed, in the order in which it is done.
        log: what was done, in words.
    """

    dataset: DatasetConfig
    declared: Mapping[str, Table]
    sound: Frames
    frames: Frames = field(default_factory=dict)
    loose: set[str] = field(default_factory=set)
    broken: dict[str, bytes] = field(default_factory=dict)
    parts: int | None = None
    int96: set[str] = field(default_factory=set)
    merged: set[int] = field(default_factory=set)
    places: list[tuple[Place, str, int]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        origin = pl.int_range(pl.len(), dtype=pl.Int64).alias(ORIGIN)
        self.frames = {n: f.with_columns(origin, pl.lit(False).alias(HURT)) for n, f in self.sound.items()}

    def delivered(self) -> Frames:
        """The tables to write."""
        return {name: frame.drop(ORIGIN, HURT) for name, frame in self.frames.items()}

    def write(self, folder: Path) -> None:
        """Write the delivery, and damage its files."""
        write(self.delivered(), folder, self.parts, self.int96)
        for table, content in self.broken.items():
            place = place_of(folder, table)
            file = place / "part-00000.parquet" if place and place.is_dir() else place
            if file is not None:
                file.write_bytes(file.read_bytes()[:-20] if content == b"cut" else content)
        for change, table, number in self.places:
            change(folder, table, np.random.default_rng(number))

    def hurt(self, table: str) -> pl.DataFrame:
        """Delivered rows that were changed or added, or that share their key with one that was."""
        frame, key = self.frames[table], list(self.declared[table].key)
        if not key or not set(key) <= set(frame.columns):
            return frame.filter(HURT)
        keys = frame.filter(HURT).select(key).unique()
        return frame.join(keys, on=key, how="semi", nulls_equal=True)

    def spared(self, table: str) -> pl.DataFrame:
        """Sound rows of a table that must come through as they were: they were not touched, and neither was what they
        point at."""
        if table not in self.frames or table in self.loose:
            return self.sound[table].clear()
        kept = self.frames[table].filter(pl.col(ORIGIN) >= 0)[ORIGIN]
        touched = self.hurt(table)[ORIGIN]
        rows = self.sound[table].with_row_index(ORIGIN).cast({ORIGIN: pl.Int64})
        rows = rows.filter(pl.col(ORIGIN).is_in(kept.implode()) & ~pl.col(ORIGIN).is_in(touched.implode()))
        for reference in self.declared[table].references:
            on = list(reference.columns)
            if reference.table not in self.sound or not set(on) <= set(rows.columns):
                continue
            rows = rows.join(self._uncertain(reference.table, on), on=on, how="anti", maintain_order="left")
        return rows.drop(ORIGIN)

    def _uncertain(self, table: str, on: list[str]) -> pl.DataFrame:
        """Ids of sound rows of a table that may be gone."""
        sure = self.spared(table)
        return self.sound[table].select(on).join(sure.select(on), on=on, how="anti").unique()


Kind = Callable[[Damaged, str, np.random.Generator], bool]
"""Damages a table of a delivery; False where this kind does not apply to it."""


def _columns(made: Damaged, table: str, of: Callable[[pl.DataType], bool]) -> list[str]:
    frame = made.frames[table]
    return [c for c in made.declared[table].types if c in frame.columns and of(frame.schema[c])]


def _some(frame: pl.DataFrame, rng: np.random.Generator) -> pl.Expr:
    """One row, a few, or sometimes all."""
    most = frame.height if rng.random() < 0.1 else min(frame.height, 20)
    chosen = rng.choice(frame.height, int(rng.integers(1, most + 1)), replace=False)
    return pl.int_range(pl.len()).is_in(chosen.tolist())


def _set(made: Damaged, table: str, column: str, values: list[Any], rng: np.random.Generator) -> bool:
    """Replace a column's values in some rows by some of `values`, which are of its type."""
    frame = made.frames[table]
    if frame.is_empty():
        return False
    some = _some(frame, rng)
    try:
        given = pl.Series(values, dtype=frame.schema[column], strict=True)
    except (pl.exceptions.PolarsError, TypeError, OverflowError):
        return False
    other = given.gather(rng.integers(0, len(given), frame.height))
    made.frames[table] = frame.with_columns(
        pl.when(some).then(other).otherwise(pl.col(column)).alias(column), (pl.col(HURT) | some).alias(HURT)
    )
    return True


def blank(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Missing values, in a key as well."""
    columns = _columns(made, table, lambda _: True)
    return bool(columns) and _set(made, table, str(rng.choice(columns)), [None], rng)


def number(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Numbers that are none, or out of any range."""
    columns = _columns(made, table, lambda t: t.is_numeric())
    if not columns:
        return False
    column = str(rng.choice(columns))
    floats: list[Any] = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1e300, -1.0, 2.0**53, 0.5]
    return _set(
        made, table, column, floats if made.frames[table].schema[column].is_float() else [-1, 0, 2**31 - 1], rng
    )


def text(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Texts that nobody else has."""
    columns = _columns(made, table, lambda t: t == pl.String)
    strange = ["", " ", "nobody", "c0 ", "\u00e9\u0301", "\u200b", "a\x00b", "null", "NaN", "x" * 5_000, "ZÜRICH\n"]
    return bool(columns) and _set(made, table, str(rng.choice(columns)), strange, rng)


def time(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Days and instants at and beyond every border: of the delivery, of daylight saving, of the calendar."""
    columns = _columns(made, table, lambda t: t.is_temporal())
    if not columns:
        return False
    column, dataset = str(rng.choice(columns)), made.dataset
    borders = [dataset.instant(dataset.covers_from), dataset.instant(dataset.covers_until)]
    near = [b + timedelta(microseconds=k) for b in borders for k in (-1, 0)]
    far = [datetime(y, 1, 1, tzinfo=UTC) for y in (1000, 1899, 1970, 2262, 9999)]
    changes = [datetime(dataset.covers_from.year, 3, 10, h, 30, tzinfo=UTC) for h in (6, 7)]
    dtype = made.frames[table].schema[column]
    if dtype == pl.Date:
        days = [dataset.covers_from, dataset.covers_until, dataset.covers_from - timedelta(days=1), date(1, 1, 1)]
        return _set(made, table, column, [*days, date(9999, 12, 31), date(1970, 1, 1)], rng)
    zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return _set(made, table, column, [a if zoned else a.replace(tzinfo=None) for a in (*near, *far, *changes)], rng)


def sentinels96(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Times in 96 bits, some of them in the years 1000 and 9999, which nanoseconds do not reach."""
    columns = _columns(made, table, lambda t: t.is_temporal())
    if not columns:
        return False
    column = str(rng.choice(columns))
    dtype = made.frames[table].schema[column]
    if isinstance(dtype, pl.Datetime):
        coarse = pl.Datetime("us", dtype.time_zone)
        made.frames[table] = made.frames[table].with_columns(pl.col(column).cast(coarse))
    ends: list[Any] = [date(1000, 1, 1), date(9999, 12, 31)]
    if isinstance(dtype, pl.Datetime):
        zone = UTC if dtype.time_zone else None
        ends = [datetime(day.year, day.month, day.day, tzinfo=zone) for day in ends]
    made.int96.add(table)
    return _set(made, table, column, ends, rng)


def stranger(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Rows that point at nobody."""
    columns = [c for reference in made.declared[table].references for c in reference.columns]
    columns = [c for c in columns if c in made.frames[table].columns]
    if not columns:
        return False
    column = str(rng.choice(columns))
    return _set(
        made, table, column, ["nobody"] if made.frames[table].schema[column] == pl.String else [987_654_321], rng
    )


def copy(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Exact copies of rows, which collapse."""
    frame = made.frames[table]
    if frame.is_empty():
        return False
    again = frame.filter(_some(frame, rng)).with_columns(pl.lit(-1, pl.Int64).alias(ORIGIN))
    made.frames[table] = pl.concat([frame, again])
    return True


def rekey(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Rows with the key of another one and other contents."""
    frame, declared = made.frames[table], made.declared[table]
    others = [c for c in _columns(made, table, lambda t: t in (pl.String, pl.Float64)) if c not in declared.key]
    if frame.is_empty() or not declared.key or not others:
        return False
    column = str(rng.choice(others))
    value = pl.lit("another") if frame.schema[column] == pl.String else pl.lit(123.25)
    again = frame.filter(_some(frame, rng)).with_columns(
        value.alias(column), pl.lit(-1, pl.Int64).alias(ORIGIN), pl.lit(True).alias(HURT)
    )
    made.frames[table] = pl.concat([frame, again])
    return True


def gone(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Rows that are not delivered."""
    frame = made.frames[table]
    if frame.is_empty():
        return False
    made.frames[table] = frame.filter(~_some(frame, rng))
    return True


def cast(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """A column in another type. What the type cannot hold makes the table loose."""
    frame = made.frames[table]
    column = str(rng.choice(_columns(made, table, lambda _: True) or [""]))
    if not column:
        return False
    old, series = frame.schema[column], frame[column]
    other = _other_types(series)
    new = other[int(rng.integers(len(other)))]
    try:
        if isinstance(new, str):
            moved = series.dt.convert_time_zone(new) if new else series.dt.replace_time_zone(None)
            kept = True
        else:
            moved = series.cast(new, strict=False)
            kept = moved.cast(old, strict=False).equals(series, null_equal=True)
    except (pl.exceptions.PolarsError, OverflowError):
        return False
    made.frames[table] = frame.with_columns(moved.alias(column))
    if not kept:
        made.loose.add(table)
    made.log[-1] += f" {column}: {old} → {moved.dtype}"
    return True


def _other_types(series: pl.Series) -> list[Any]:
    dtype, more = series.dtype, [pl.Null(), pl.List(series.dtype), pl.String()]
    if isinstance(dtype, pl.Datetime):
        zones = ["Asia/Tokyo", "America/Santiago", ""] if dtype.time_zone else []
        return [
            *zones,
            pl.Datetime("ms", dtype.time_zone),
            pl.Datetime("ns", dtype.time_zone),
            pl.Date(),
            pl.Int64(),
            *more,
        ]
    if dtype == pl.Date:
        return [pl.Datetime("us"), pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Int32(), *more]
    if dtype == pl.String:
        return [pl.Categorical(), pl.Enum(series.drop_nulls().unique()), pl.Binary(), pl.Float64(), *more]
    if dtype == pl.Boolean:
        return [pl.Int8(), pl.Float32(), *more]
    widths = [pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt32(), pl.UInt64()]
    return [*widths, pl.Float32(), pl.Float64(), pl.Decimal(30, 2), *more]


def large_keys(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """A whole number or a name as floats around the first that stands for several, here or wherever the column is."""
    dtype, start = [(pl.Float64(), 2**53), (pl.Float32(), 2**24)][int(rng.integers(2))]
    named = [c for c in _columns(made, table, lambda t: t == pl.String) if c.endswith("_id")]
    columns = named + _columns(made, table, lambda t: t.is_integer())
    if not columns:
        return False
    column = str(rng.choice(columns))
    tables = [t for t, f in made.frames.items() if t == table or (rng.random() < 0.7 and column in f.columns)]
    values = pl.concat([made.frames[t].select(pl.col(column).cast(pl.String)) for t in tables])
    known = values.to_series().drop_nulls().unique().sort()
    numbers = (pl.int_range(start - 2, start - 2 + len(known), eager=True)).cast(dtype)
    for other in tables:
        moved = made.frames[other][column].cast(pl.String).replace_strict(known, numbers, default=None)
        made.frames[other] = made.frames[other].with_columns(moved.cast(dtype).alias(column))
        made.loose.add(other)
    made.merged |= {int(number) for number in numbers if number >= start}
    made.log[-1] += f" {column} as {dtype} in {', '.join(tables)}"
    return True


def column_gone(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """A column that is not delivered, or under another name."""
    columns = _columns(made, table, lambda _: True)
    if not columns:
        return False
    column, frame = str(rng.choice(columns)), made.frames[table]
    made.frames[table] = frame.drop(column) if rng.random() < 0.5 else frame.rename({column: column.upper()})
    made.loose.add(table)
    return True


def more_columns(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Columns that nobody asked for, and all columns in another order."""
    frame = made.frames[table].with_columns(
        pl.lit("x").alias("note"), pl.lit(1).alias("Unnamed: 0"), pl.concat_list(pl.lit(1), pl.lit(2)).alias("list")
    )
    made.frames[table] = frame.select(rng.permutation(frame.columns).tolist())
    return True


def shuffle(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Rows in another order."""
    made.frames[table] = made.frames[table].sample(fraction=1.0, shuffle=True, seed=int(rng.integers(2**31)))
    return True


def empty(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """A table without rows."""
    del rng
    made.frames[table] = made.frames[table].clear()
    made.loose.add(table)
    return True


def table_gone(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """A table that is not delivered."""
    del rng
    del made.frames[table]
    made.loose.add(table)
    return True


def in_parts(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """Every table in several files, where the source knows parts."""
    del table
    if made.declared is not CONTRACT:
        return False
    made.parts = int(rng.integers(1, 4))
    return True


def bytes_broken(made: Damaged, table: str, rng: np.random.Generator) -> bool:
    """A file that is no Parquet, or ends too early."""
    made.broken[table] = [b"", b"PAR1", b"customer_id,at\n1,2\n", b"cut"][int(rng.integers(4))]
    return True


def _in_folder(change: Place) -> Kind:
    """The kind that damages a table's place in the folder."""

    def kind(made: Damaged, table: str, rng: np.random.Generator) -> bool:
        made.places.append((change, table, int(rng.integers(2**32))))
        return True

    kind.__name__, kind.__doc__ = change.__name__, change.__doc__
    return kind


ROWS: tuple[Kind, ...] = (blank, number, text, time, sentinels96, stranger, copy, rekey, gone)
COLUMNS: tuple[Kind, ...] = (cast, large_keys, more_columns, column_gone)
TABLES: tuple[Kind, ...] = (shuffle, empty, table_gone, in_parts, bytes_broken)
FILES: tuple[Kind, ...] = tuple(_in_folder(change) for change in PLACES)
LEVELS = (ROWS, COLUMNS, TABLES, FILES)
BY_NAME: dict[str, tuple[int, Kind]] = {
    kind.__name__: (level, kind) for level, kinds in enumerate(LEVELS) for kind in kinds
}
"""Name → level (0 rows, 1 columns, 2 tables, 3 files) and kind. Damage is done in the order of its levels."""


def damaged(
    dataset: DatasetConfig, declared: Mapping[str, Table], sound: Frames, wanted: list[tuple[str, str, int]]
) -> Damaged:
    """A delivery with every wanted damage (name of the kind, table, seed) that applies to it."""
    made = Damaged(dataset, declared, sound)
    for name, table, seed in sorted(wanted, key=lambda w: BY_NAME[w[0]][0]):
        if table in made.frames:
            made.log.append(f"{name} in {table}")
            if not BY_NAME[name][1](made, table, np.random.default_rng(seed)):
                made.log.pop()
    return made
