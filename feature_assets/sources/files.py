"""Opening delivered files: one Parquet file a table or a folder of parts, and one clear error when it cannot be read.

The meaning of the tables belongs to the readers. Source: DATA §1, §4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.declaration import Table


def find_tables(directory: Path, declared: Mapping[str, Table]) -> tuple[dict[str, Path], list[str]]:
    """The files `<directory>/<table>.parquet`, and the optional tables that are missing.

    Raises:
        DeliveryError: the directory or a required file is missing; names all missing files.
    """
    _require_folder(directory, f"{next(iter(declared))}.parquet")
    files = {table: directory / f"{table}.parquet" for table in declared}
    missing = [table for table in _required(declared) if not files[table].is_file()]
    if missing:
        held = ", ".join(sorted(p.name for p in directory.iterdir())[:12]) or "nothing"
        raise DeliveryError(
            f"required table{'s' if len(missing) > 1 else ''} {', '.join(missing)}: "
            f"{', '.join(str(files[t]) for t in missing)} not found. The folder holds: {held}."
        )
    present = {table: path for table, path in files.items() if path.is_file()}
    return present, _optional(declared, present)


def find_parts(directory: Path, declared: Mapping[str, Table]) -> tuple[dict[str, list[Path]], list[str]]:
    """The parts `<directory>/tables/<table>/*.parquet`, or the file `<directory>/<table>.parquet`, of each table, and
    the optional tables that are missing.

    Raises:
        DeliveryError: the directory or a required table is missing; names all missing tables.
    """
    _require_folder(directory, f"tables/{next(iter(declared))}")
    parts: dict[str, list[Path]] = {}
    for table in [*_required(declared), *(name for name in declared if not declared[name].required)]:
        whole = directory / f"{table}.parquet"
        files = [whole] if whole.is_file() else sorted((directory / "tables" / table).glob("*.parquet"))
        if files:
            parts[table] = files
    missing = [table for table in _required(declared) if table not in parts]
    if missing:
        raise DeliveryError(
            f"required table{'s' if len(missing) > 1 else ''} {', '.join(missing)}: found neither {directory}/tables/"
            f"<table>/*.parquet nor {directory}/<table>.parquet. Tables found: {', '.join(parts) or 'none'}."
        )
    return parts, _optional(declared, parts)


def _required(declared: Mapping[str, Table]) -> list[str]:
    return [name for name, table in declared.items() if table.required]


def _optional(declared: Mapping[str, Table], present: Mapping[str, object]) -> list[str]:
    """The optional tables that are not present."""
    return [name for name, table in declared.items() if not table.required and name not in present]


def _require_folder(directory: Path, held: str) -> None:
    if not directory.is_dir():
        raise DeliveryError(f"{directory} is not a folder: give the folder that holds {held}")


def scan_parts(table: str, parts: list[Path]) -> pl.LazyFrame:
    """All parts of a table as one lazy frame, in the order of their names; schemas are read at once.

    Raises:
        DeliveryError: a part is not Parquet, or has other columns or types than the first one.
    """
    frames = [scan(table, part) for part in parts]
    first = dict(frames[0].collect_schema())
    for part, frame in zip(parts[1:], frames[1:], strict=True):
        schema = dict(frame.collect_schema())
        if schema != first:
            differing = sorted(c for c in first.keys() | schema.keys() if first.get(c) != schema.get(c))
            raise DeliveryError(
                f"table {table}: {part} has other columns or types than {parts[0].name}: "
                f"{', '.join(f'{c} ({schema.get(c)}, expected {first.get(c)})' for c in differing[:5])}. "
                f"Deliver all parts of a table alike."
            )
    return pl.scan_parquet(parts, glob=False)


def scan(table: str, path: Path) -> pl.LazyFrame:
    """The Parquet file as a lazy frame; its schema is read at once.

    Raises:
        DeliveryError: the file is not Parquet.
    """
    try:
        frame = pl.scan_parquet(path, glob=False)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table, path, error) from error
    return frame


def collect(table: str, path: Path, frame: pl.LazyFrame, *, streaming: bool = False) -> pl.DataFrame:
    """Collect a frame that comes from `scan`.

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
