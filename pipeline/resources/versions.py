"""A version of a published table: one immutable file, named by its content; and what keeps versions.

    published/<table>/<date>/<version>/as_of=<date>/part-<version>.parquet

The path is the same below the folder of a lake and below the URL of one. A version is named by 16 hex digits of the
SHA-256 of its file. The column `as_of` is in the path only, as Hive's readers want it.
"""

import os
import re
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Protocol

import polars as pl

from pipeline.resources.digests import file_digest
from pipeline.resources.files import make_folder

PUBLISHED = "published"
AS_OF = "as_of"
POSITION = "ple.as_of"
"""Key in the metadata of a file: the position at which the frame had its column `as_of`."""
FILE = re.compile(r"part-([0-9a-f]{16})\.parquet")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ROW_GROUP = 50_000
"""Rows of a group of a file that is written in parts."""
_DATED = re.compile(rf".*/({DATE.pattern})/([^/]+)(?:/{AS_OF}=.*)?")

Place = Path | str
"""A path on this machine, or a URL."""


class PublicationError(ValueError):
    """A published table that is not there or was altered; says which, and what to do."""


class Versions(Protocol):
    """Keeps the versions of one table and the pointers to them: on a file system, or in an object store. A date is
    YYYY-MM-DD, a version a `Place` that `resolve` or `left` told. Errors and meanings are those of `Published`."""

    def pointer(self, as_of: str) -> Place:
        """What says which version is published."""

    def dates(self) -> list[str]:
        """The dates that are published, in order."""

    def has(self, as_of: str) -> bool:
        """Whether something is published for a date; asked by its name."""

    def resolve(self, as_of: str) -> Place:
        """The version that is published now."""

    def file(self, as_of: str) -> Path:
        """Its file on this machine, verified."""

    def publish(self, frame: pl.DataFrame | pl.LazyFrame, as_of: str) -> Path:
        """Keep a version, and point at it last; its file on this machine."""

    def withdraw(self, as_of: str) -> None:
        """Point at nothing."""

    def left(self, seconds: float) -> Iterator[Place]:
        """Versions that nothing has pointed at for longer."""

    def forget(self, version: Place) -> None:
        """Delete a version."""

    def files(self, version: Place) -> list[Path]:
        """The files of a version on this machine, not verified."""

    def bytes_of(self, version: Place) -> int:
        """Bytes that it takes where it is kept."""

    def address(self, path: Path) -> Place:
        """Where others find a path of the lake."""


def path_of(table: str, as_of: str, version: str) -> str:
    """The path of a version's file below the lake."""
    return f"{PUBLISHED}/{table}/{as_of}/{version}/{AS_OF}={as_of}/part-{version}.parquet"


def named(version: Place) -> tuple[str, str]:
    """Date and name of a version."""
    found = _DATED.fullmatch(version.as_posix() if isinstance(version, Path) else version)
    if found is None:
        raise PublicationError(f"{version} is no version of a table")
    return found[1], found[2]


def altered(file: Path) -> bool:
    """Whether a file's bytes are not those of its name. One that is named otherwise cannot be told."""
    name = FILE.fullmatch(file.name)
    return name is not None and file_digest(file)[:16] != name.group(1)


def beside(folder: Path) -> Path:
    """A name in a folder under which nobody reads, and nothing lies yet."""
    return folder / f".{os.getpid()}-{uuid.uuid4().hex[:8]}.part"


def write(frame: pl.DataFrame | pl.LazyFrame, folder: Path, as_of: str) -> str:
    """Write the file of a version; its name. The column `as_of` goes where its values are those of the path. What is
    not in memory is never there as a whole."""
    metadata = None
    columns = frame.collect_schema()
    of_date = (pl.col(AS_OF) == date.fromisoformat(as_of)).all(ignore_nulls=False)
    if columns.get(AS_OF) == pl.Date and frame.lazy().select(of_date).collect().item():
        metadata = {POSITION: str(columns.names().index(AS_OF))}
        frame = frame.drop(AS_OF)
    make_folder(folder)
    file = folder / "part.parquet"
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(file, compression="zstd", statistics=True, metadata=metadata)
    else:
        frame.sink_parquet(file, compression="zstd", statistics=True, metadata=metadata, row_group_size=_ROW_GROUP)
    name = file_digest(file)[:16]
    file.rename(folder / f"part-{name}.parquet")
    return name
