"""Opening delivered files: one Parquet file a table, and one clear error when it cannot be read.

What the tables mean belongs to the named sources. Source: DATA §1, §4.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from feature_assets.contract import DeliveryError


def find_tables(directory: Path, required: list[str], optional: list[str]) -> tuple[dict[str, Path], list[str]]:
    """The files `<directory>/<table>.parquet`, and the optional tables that are not there.

    Raises:
        DeliveryError: the directory or a required file is missing; names all missing files.
    """
    if not directory.is_dir():
        raise DeliveryError(f"{directory} is not a folder: give the folder that holds {required[0]}.parquet")
    files = {table: directory / f"{table}.parquet" for table in required + optional}
    missing = [table for table in required if not files[table].is_file()]
    if missing:
        found = ", ".join(sorted(p.name for p in directory.iterdir())[:12]) or "nothing"
        raise DeliveryError(
            f"required table{'s' if len(missing) > 1 else ''} {', '.join(missing)}: "
            f"{', '.join(str(files[t]) for t in missing)} not found. The folder holds: {found}."
        )
    present = {table: path for table, path in files.items() if path.is_file()}
    return present, [table for table in optional if table not in present]


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
    """The error of a file that is there but cannot be read."""
    size = path.stat().st_size if path.is_file() else 0
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DeliveryError(f"table {table}: {path} ({size} bytes) cannot be read as Parquet: {said}. Deliver it again.")
