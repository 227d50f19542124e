"""Opening delivered files: the parts of a table as one lazy frame, and one clear error when they cannot be read.

Which files those are belongs to `finding.py`, the meaning of the tables to the readers. Source: DATA §1, §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.declaration import Table
from feature_assets.sources.finding import Found, Part


def opened(found: Found, declared: dict[str, Table]) -> dict[str, pl.LazyFrame]:
    """Delivered table → lazy frame of all its parts, in the order of their names; schemas are read at once.

    Raises:
        DeliveryError: a part is not Parquet, or has other columns or types than the first one.
    """
    return {name: scan_parts(declared[name], parts) for name, parts in found.parts.items()}


def scan_parts(table: Table, parts: Sequence[Part]) -> pl.LazyFrame:
    """All parts of a table as one lazy frame. The values of folders `name=value` are columns, unless the file has a
    column of that name.

    Raises:
        DeliveryError: a part is not Parquet, or has other columns or types than the first one.
    """
    frames = [_with_values(table, part, scan(table.name, part.path)) for part in parts]
    first = dict(frames[0].collect_schema())
    for part, frame in zip(parts[1:], frames[1:], strict=True):
        schema = dict(frame.collect_schema())
        if schema != first:
            differing = sorted(c for c in first.keys() | schema.keys() if first.get(c) != schema.get(c))
            raise DeliveryError(
                f"table {table.name}: {part.inside} has other columns or types than {parts[0].inside}: "
                f"{', '.join(f'{c} ({schema.get(c)}, expected {first.get(c)})' for c in differing[:5])}. "
                f"Deliver all parts of a table alike."
            )
    if any(part.values for part in parts):
        return pl.concat([frame.select(list(first)) for frame in frames])
    return _scan([part.path for part in parts])


def scan(table: str, path: Path) -> pl.LazyFrame:
    """The Parquet file as a lazy frame; its schema is read at once.

    Raises:
        DeliveryError: the file is not Parquet.
    """
    try:
        frame = _scan([path])
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table, path, error) from error
    return frame


def _scan(paths: list[Path]) -> pl.LazyFrame:
    """The files as one frame, with times in microseconds: what is stored as INT96 reaches further than nanoseconds do,
    and would come as their last instant."""
    schema = pl.scan_parquet(paths[0], glob=False).collect_schema()
    coarse = {
        name: pl.Datetime("us", dtype.time_zone)
        if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"
        else dtype
        for name, dtype in schema.items()
    }
    options = pl.ScanCastOptions(datetime_cast="nanosecond-downcast")
    return pl.scan_parquet(paths, glob=False, hive_partitioning=False, schema=coarse, cast_options=options)


def _with_values(table: Table, part: Part, frame: pl.LazyFrame) -> pl.LazyFrame:
    """The frame with the values of the folders that it lies in, as the declared types; as text where none is declared.

    Raises:
        DeliveryError: a value is none of its type.
    """
    names = frame.collect_schema().names()
    more = []
    for name, text in part.values.items():
        if name in names:
            continue
        dtype = table.types.get(name, pl.String())
        try:
            more.append(pl.lit(pl.Series([text], dtype=pl.String).cast(dtype).item(), dtype).alias(name))
        except pl.exceptions.PolarsError:
            raise DeliveryError(
                f"table {table.name}: the folder name in {part.inside} gives {name} as {text!r}, which is no {dtype}. "
                f"Deliver the column {name} in the files."
            ) from None
    return frame.with_columns(more)


def collect(table: str, path: Path, frame: pl.LazyFrame, *, streaming: bool = False) -> pl.DataFrame:
    """Collect a frame that comes from `opened`.

    Raises:
        DeliveryError: a part of the file is damaged.
    """
    try:
        return frame.collect(engine="streaming" if streaming else "in-memory")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table, path, error) from error


def unreadable(table: str, path: Path, error: Exception) -> DeliveryError:
    """The error of an existing file that cannot be read."""
    size = f"{path.stat().st_size} bytes" if path.is_file() else "a folder"
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DeliveryError(f"table {table}: {path} ({size}) cannot be read as Parquet: {said}. Deliver it again.")
