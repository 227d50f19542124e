"""Publication: tables that readers see, as immutable versions and one pointer a date that is switched last.

Versions and pointers lie on a file system (`local_versions`) or in an object store (`object_versions`), as the lake's
home noted (`pipeline.home.lake_place`); nobody but this module asks where. What is pointed at, when, and how long a
version stays that nothing points at, is decided elsewhere.
Source: docs/decisions/0016-publication.md and 0020-object-store.md.
"""

import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from pipeline.home import lake_place
from pipeline.resources.local_versions import LocalVersions
from pipeline.resources.versions import (
    AS_OF,
    DATE,
    POSITION,
    PUBLISHED,
    Place,
    PublicationError,
    Versions,
    altered,
    named,
)

__all__ = [
    "AS_OF",
    "PUBLISHED",
    "Place",
    "PublicationError",
    "Published",
    "altered",
    "fetch",
    "named",
    "published_words",
    "tables",
]

_NAME = re.compile(r"\w[\w-]*")
"""A part of a table's name; no path leads out of the lake by it."""
_NO_TABLES = ("arrivals", "deliveries", "tables", "training", "versions", "volumes", PUBLISHED)
"""Folders of the lake that hold no published table."""


@dataclass(frozen=True)
class Published:
    """One table of the lake, by as-of date (YYYY-MM-DD). One process at a time publishes; anybody reads.

    Whatever asks an object store raises ConnectionError besides, where it does not answer, and PermissionError where it
    refuses the credentials.
    """

    lake: Path
    table: str

    def __post_init__(self) -> None:
        if not all(_NAME.fullmatch(part) for part in self.table.split("/")):
            raise PublicationError(f"{self.table!r} is no name of a table: letters, digits, _ and - between slashes")

    @property
    def where(self) -> Place:
        """The table, for messages."""
        return self.address(self.lake / self.table)

    def pointer(self, as_of: str) -> Place:
        """What says which version is published: on a file system `lake/<table>/as_of=<date>`, which readers open who
        do not resolve a version; in an object store the object of the same name with `.json` behind it."""
        return self._kept(as_of).pointer(as_of)

    def dates(self) -> list[str]:
        """The dates that are published, in order."""
        return self._kept().dates()

    def has(self, as_of: str) -> bool:
        """Whether something is published for a date."""
        return self._kept(as_of).has(as_of)

    def resolve(self, as_of: str) -> Place:
        """The immutable version that is published now: a table of this one date for every reader that knows Hive's
        folders. A folder on a file system, in an object store the URL of its one object.

        Raises:
            PublicationError: nothing is published for the date.
        """
        return self._kept(as_of).resolve(as_of)

    def file(self, as_of: str) -> Path:
        """The one file, on this machine, of the version that is published now; its bytes are verified against its name.

        Raises:
            PublicationError: nothing is published for the date, or it was altered.
        """
        return self._kept(as_of).file(as_of)

    def read(self, as_of: str) -> pl.DataFrame:
        """The frame that was published, with its column `as_of` where it had one.

        Raises:
            PublicationError: as `file`; or the file cannot be read.
        """
        try:
            return self.scan(as_of).collect()
        except ConnectionError:
            raise
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._unread(as_of, error) from error

    def scan(self, as_of: str) -> pl.LazyFrame:
        """The same frame, of which only the columns and rows are read that are asked for.

        Raises:
            PublicationError: as `file`; or the head of the file cannot be read.
        """
        file = self.file(as_of)
        try:
            return scanned(file)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._unread(as_of, error) from error

    def sound(self, days: Iterable[str]) -> Iterator[tuple[str, pl.DataFrame]]:
        """Date and frame of those dates that can be read, with a line for each that cannot: what tonight is only
        compared with costs no night."""
        for day in days:
            try:
                yield day, self.read(day)
            except PublicationError as error:
                logging.getLogger(__name__).warning("left out of the comparison: %s", error)

    def publish(self, frame: pl.DataFrame | pl.LazyFrame, as_of: str) -> Path:
        """Write a version where no reader looks, and point at it once it is whole. Equal content is not published
        again, and a version that was altered is replaced.

        Returns:
            The file of the version on this machine.
        """
        return self._kept(as_of).publish(frame, as_of)

    def withdraw(self, as_of: str) -> None:
        """Publish nothing for a date any more; its last version stays for those who read it."""
        self._kept(as_of).withdraw(as_of)

    def left(self, seconds: float) -> Iterator[Place]:
        """Versions that nothing has pointed at for longer than some seconds."""
        return self._kept().left(seconds)

    def forget(self, version: Place) -> None:
        """Delete a version that `left` or `resolve` told."""
        self._kept().forget(version)

    def files(self, version: Place) -> list[Path]:
        """The files of a version on this machine, not verified."""
        return self._kept().files(version)

    def bytes_of(self, version: Place) -> int:
        """Bytes of a version where it is kept."""
        return self._kept().bytes_of(version)

    def address(self, path: Path) -> Place:
        """Where others find a path of the lake, such as the file that `publish` returns."""
        return self._kept().address(path)

    def _kept(self, as_of: str | None = None) -> Versions:
        """Where the versions are kept. Raises `PublicationError` where a date is none."""
        if as_of is not None and DATE.fullmatch(as_of) is None:
            raise PublicationError(f"{as_of!r} is no as-of date of the form YYYY-MM-DD")
        url = lake_place.url_of(self.lake)
        if url is None:
            return LocalVersions(self.lake, self.table)
        from pipeline.resources.object_versions import ObjectVersions

        return ObjectVersions(self.lake, self.table, url)

    def _unread(self, as_of: str, error: Exception) -> PublicationError:
        where = self.resolve(as_of)
        return PublicationError(f"{where} cannot be read ({error}): run the night of {as_of} again")


def published_words(lake: Path, day: date) -> str:
    """What readers see of the scores of a date, in a clause."""
    published, as_of = Published(lake, "scores"), day.isoformat()
    try:
        if not published.has(as_of):
            return f"no scores of {day} are published"
        return f"the scores of {day} are published, by run {published.read(as_of)['run_id'][0]}"
    except (PublicationError, OSError, pl.exceptions.PolarsError) as error:
        return f"the scores of {day} cannot be read: {error}"


def fetch(lake: Path) -> None:
    """Bring every version that a lake keeps elsewhere to this machine, into the folder of the lake."""
    if lake_place.url_of(lake) is None:
        return
    for name in tables(lake):
        published = Published(lake, name)
        for version in (*map(published.resolve, published.dates()), *published.left(-math.inf)):
            published.files(version)


def tables(lake: Path) -> list[str]:
    """Names of the tables that have a version or a pointer, or dates in the form of an earlier release."""
    if (url := lake_place.url_of(lake)) is not None:
        from pipeline.resources.object_versions import tables_under

        return tables_under(url)
    found = set()
    for root, is_date in ((lake, _is_pointer), (lake / PUBLISHED, DATE.fullmatch)):
        for folder, names, _ in os.walk(root):
            where = Path(folder).relative_to(root)
            if any(is_date(name) for name in names):
                found.add(where.as_posix())
                names.clear()
            elif where == Path() and root == lake:
                names[:] = [name for name in names if name not in _NO_TABLES]
    return sorted(found)


def _is_pointer(name: str) -> bool:
    return name.startswith(f"{AS_OF}=")


def scanned(file: Path) -> pl.LazyFrame:
    """The frame in the file of a version, which lies in the folder of its date; nothing is verified."""
    frame = pl.scan_parquet(file, hive_partitioning=False)
    names = frame.collect_schema().names()
    position = pl.read_parquet_metadata(file).get(POSITION)
    if position is None:
        return frame
    at = int(position)
    as_of = date.fromisoformat(file.parent.name.partition("=")[2])
    return frame.select(*names[:at], pl.lit(as_of, dtype=pl.Date).alias(AS_OF), *names[at:])
