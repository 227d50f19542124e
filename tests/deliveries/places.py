"""Damage to the folder of a delivery: files that are moved, doubled, hidden or not there after it was written.

No row is changed. Each of them is read all the same, or an error stops the night. Damage to rows, columns and tables
belongs to `damage.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from feature_assets.sources.finding import FOLDER, SUFFIXES

Place = Callable[[Path, str, np.random.Generator], None]
"""Damages the place of a table in a folder; does nothing where the table is not there any more."""


def place_of(folder: Path, table: str) -> Path | None:
    """The file or folder of a written table; None if there is none, or none that can be read."""
    names = [table, *(table + suffix for suffix in (*SUFFIXES, *(s.upper() for s in SUFFIXES)))]
    return next((path for around in (folder, folder / FOLDER) for n in names if (path := around / n).exists()), None)


def _parts(folder: Path, table: str) -> Path | None:
    """The folder of the table's parts, made of its file where it is one."""
    place = place_of(folder, table)
    if place is None or place.is_dir():
        return place
    content = place.read_bytes()
    place.unlink()
    parts = folder / FOLDER / table
    parts.mkdir(parents=True, exist_ok=True)
    (parts / "part-0.parquet").write_bytes(content)
    return parts


def _a_part(parts: Path) -> Path | None:
    return next((path for path in sorted(parts.rglob("part-*.parquet")) if path.is_file()), None)


def part_in_value(folder: Path, table: str, rng: np.random.Generator) -> None:
    """Some rows under `store=008/` beside the part with the others, or under a column that the file has as well."""
    parts = _parts(folder, table)
    part = None if parts is None else _a_part(parts)
    if parts is None or part is None:
        return
    try:
        frame = pl.read_parquet(part)
    except (pl.exceptions.PolarsError, OSError):  # broken before
        return
    name = "store=008" if rng.random() < 0.5 else f"{frame.columns[int(rng.integers(frame.width))]}=008"
    if (parts / name).exists():  # moved there before
        return
    (parts / name).mkdir()
    half = frame.height // 2
    frame.slice(half).write_parquet(part)
    frame.head(half).write_parquet(parts / name / "part-0.parquet")


def capitals(folder: Path, table: str, rng: np.random.Generator) -> None:
    """`t.PARQUET`, or the suffix of a part in capitals."""
    del rng
    place = place_of(folder, table)
    file = place if place is None or place.is_file() else _a_part(place)
    if file is not None:
        file.rename(file.with_suffix(".PARQUET"))


def dangling(folder: Path, table: str, rng: np.random.Generator) -> None:
    """A link to nothing, in the place of the table or beside its parts."""
    place = place_of(folder, table)
    if place is None:
        return
    if place.is_dir():
        _link_to_nothing(place / "part-99999.parquet")
    elif rng.random() < 0.5:
        _link_to_nothing(place)
    else:
        _link_to_nothing(folder / f"{table}.pq")


def _link_to_nothing(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent / "gone.parquet")


def hidden(folder: Path, table: str, rng: np.random.Generator) -> None:
    """A copy of a part under a hidden name beside it: no rows of the table."""
    parts = _parts(folder, table)
    part = None if parts is None else _a_part(parts)
    if part is not None:
        name = (".{}", "._{}", "_{}", ".{}.crc")[int(rng.integers(4))].format(part.name)
        part.with_name(name).write_bytes(part.read_bytes())


def two_places(folder: Path, table: str, rng: np.random.Generator) -> None:
    """`t.parquet` and `tables/t/` with the same rows."""
    place = place_of(folder, table)
    file = place if place is None or place.is_file() else _a_part(place)
    if place is None or file is None:
        return
    content = file.read_bytes()
    if place.is_dir():
        (folder / f"{table}{SUFFIXES[int(rng.integers(len(SUFFIXES)))]}").write_bytes(content)
    else:
        other = folder / FOLDER / table
        other.mkdir(parents=True, exist_ok=True)
        (other / "part-0.parquet").write_bytes(content)


PLACES: tuple[Place, ...] = (part_in_value, capitals, dangling, hidden, two_places)
