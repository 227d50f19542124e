"""Writing, ingesting and damaging deliveries. A change takes one table to another, so that changes compose."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables
from feature_assets.sources import Ingested, ingest, read_delivery

Frames = dict[str, pl.DataFrame]
Change = Callable[[pl.DataFrame], pl.DataFrame]


def write(frames: Frames, folder: Path, parts: int | None = None, in_int96: Collection[str] = ()) -> Path:
    """Write `<table>.parquet`, or `tables/<table>/part-….parquet` in so many parts; some tables by `int96`."""
    for name, frame in frames.items():
        write_one = int96 if name in in_int96 else pl.DataFrame.write_parquet
        place = folder if parts is None else folder / "tables" / name
        place.mkdir(parents=True, exist_ok=True)
        if parts is None:
            write_one(frame, place / f"{name}.parquet")
            continue
        size = -(-frame.height // parts) or 1
        for i in range(parts):
            write_one(frame.slice(i * size, size), place / f"part-{i:05d}.parquet")
    return folder


def int96(frame: pl.DataFrame, path: Path) -> None:
    """A file as Spark and Impala wrote times for long."""
    zoned = [c for c, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime) and dtype.time_zone]
    instants = frame.with_columns(pl.col(zoned).dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    times = instants.with_columns(cs.datetime().dt.cast_time_unit("us"), cs.date().cast(pl.Datetime("us")))
    pq.write_table(times.to_arrow(), path, use_deprecated_int96_timestamps=True, store_schema=False)


def deliver(frames: Frames, folder: Path, dataset: DatasetConfig, parts: int | None = None) -> Ingested:
    """Write and ingest a delivery."""
    return ingest(read_delivery(dataset, write(frames, folder, parts)))


def altered(frames: Frames, table: str, *changes: Change) -> Frames:
    """The delivery with one table changed."""
    frame = frames[table]
    for change in changes:
        frame = change(frame)
    return frames | {table: frame}


def without(frames: Frames, *tables: str) -> Frames:
    """The delivery without some tables."""
    return {name: frame for name, frame in frames.items() if name not in tables}


def shuffled(frames: Frames, seed: int) -> Frames:
    """The delivery with the rows of every table in another order."""
    return {name: frame.sample(fraction=1, shuffle=True, seed=seed) for name, frame in frames.items()}


def same(left: Tables, right: Tables) -> bool:
    """Whether two data sets hold equal tables."""
    return left.frames.keys() == right.frames.keys() and all(
        left.frames[name].equals(right.frames[name], null_equal=True) for name in left.frames
    )


def once_more(row: int = 0, **values: Any) -> Change:
    """Append a copy of a row in which some columns have other values."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        other = frame[row].with_columns(pl.lit(v, frame.schema[c]).alias(c) for c, v in values.items())
        return pl.concat([frame, other])

    return change


def copied(rows: int = 1) -> Change:
    """Append exact copies of the first rows."""
    return lambda frame: pl.concat([frame, frame.head(rows)])


def first_rows(rows: int = 2, **values: Any) -> Change:
    """Set columns of the first rows to a value."""
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) < rows).then(pl.lit(v)).otherwise(pl.col(c)).alias(c) for c, v in values.items()
    )


def columns(**expressions: pl.Expr) -> Change:
    """Replace columns, or add them."""
    return lambda frame: frame.with_columns(**expressions)


def emptied(frame: pl.DataFrame) -> pl.DataFrame:
    """No rows."""
    return frame.clear()
