"""Publication: tables that readers see, as immutable versions and one pointer a date that is switched last.

    lake/published/<table>/<date>/<version>/as_of=<date>/part-<version>.parquet    a version; it never changes
    lake/<table>/as_of=<date>                                                      the pointer: a link to a version

A version is named by 16 hex digits of the SHA-256 of its file, and the file carries that name: a path is either the
same bytes for ever, or not there. The column `as_of` is in the path only, as Hive's readers want it.
What is pointed at, when, and how long a version stays that nothing points at, is decided elsewhere.
Source: docs/decisions/0016-publication.md.
"""

import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from pipeline.clock import age
from pipeline.resources.digests import file_digest
from pipeline.resources.files import discard, flush_below, make_folder
from ple_model.serving.files import flush

PUBLISHED = "published"
AS_OF = "as_of"
_POSITION = "ple.as_of"
"""Key in the metadata of a file: the position at which the frame had its column `as_of`."""
_FILE = re.compile(r"part-([0-9a-f]{16})\.parquet")
_NAME = re.compile(r"\w[\w-]*")
"""A part of a table's name; no path leads out of the lake by it."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ROW_GROUP = 50_000
"""Rows of a group of a file that is written in parts."""
_NO_TABLES = ("arrivals", "deliveries", "tables", "training", "versions", "volumes", PUBLISHED)
"""Folders of the lake that hold no published table."""


class PublicationError(ValueError):
    """A published table that is not there or was altered; says which, and what to do."""


@dataclass(frozen=True)
class Published:
    """One table of the lake, by as-of date (YYYY-MM-DD). One process at a time publishes; anybody reads."""

    lake: Path
    table: str

    def __post_init__(self) -> None:
        if not all(_NAME.fullmatch(part) for part in self.table.split("/")):
            raise PublicationError(f"{self.table!r} is no name of a table: letters, digits, _ and - between slashes")

    def pointer(self, as_of: str) -> Path:
        """What readers open who do not resolve a version: `lake/<table>/as_of=<date>`."""
        if _DATE.fullmatch(as_of) is None:
            raise PublicationError(f"{as_of!r} is no as-of date of the form YYYY-MM-DD")
        return self.lake / self.table / f"{AS_OF}={as_of}"

    def dates(self) -> list[str]:
        """The dates that are published, in order."""
        folders = (self.lake / self.table).glob(f"{AS_OF}=*")
        return sorted(folder.name.partition("=")[2] for folder in folders if folder.is_dir())

    def resolve(self, as_of: str) -> Path:
        """The immutable folder of the version that is published now: a table of this one date for every reader that
        knows Hive's folders.

        Raises:
            PublicationError: nothing is published for the date.
        """
        self._folder(as_of)
        return self._target(as_of) or self.pointer(as_of)

    def file(self, as_of: str) -> Path:
        """The one file of the version that is published now; its bytes are verified against its name.

        Raises:
            PublicationError: nothing is published for the date, or it was altered.
        """
        folder = self._folder(as_of)
        files = sorted(folder.glob("*.parquet"))
        if len(files) != 1:
            raise PublicationError(f"{folder} holds {len(files)} files instead of one: run the night of {as_of} again")
        if altered(files[0]):
            raise PublicationError(f"{files[0]} was altered: run the night of {as_of} again")
        return files[0]

    def read(self, as_of: str) -> pl.DataFrame:
        """The frame that was published, with its column `as_of` where it had one.

        Raises:
            PublicationError: as `file`; or the file cannot be read.
        """
        try:
            return self.scan(as_of).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._unread(as_of, error) from error

    def scan(self, as_of: str) -> pl.LazyFrame:
        """The same frame, of which only the columns and rows are read that are asked for.

        Raises:
            PublicationError: as `file`; or the head of the file cannot be read.
        """
        file = self.file(as_of)
        try:
            frame = pl.scan_parquet(file, hive_partitioning=False)
            names = frame.collect_schema().names()
            position = pl.read_parquet_metadata(file).get(_POSITION)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._unread(as_of, error) from error
        if position is None:
            return frame
        at, day = int(position), pl.lit(date.fromisoformat(as_of), dtype=pl.Date).alias(AS_OF)
        return frame.select(*names[:at], day, *names[at:])

    def sound(self, days: Iterable[str]) -> Iterator[tuple[str, pl.DataFrame]]:
        """Date and frame of those dates that can be read, with a line for each that cannot: what tonight is only
        compared with costs no night."""
        for day in days:
            try:
                yield day, self.read(day)
            except PublicationError as error:
                logging.getLogger(__name__).warning("left out of the comparison: %s", error)

    def publish(self, frame: pl.DataFrame | pl.LazyFrame, as_of: str) -> Path:
        """Write a version where no reader looks, flush it, and point at it. Equal content is not published again, and
        a version that was altered on disk is replaced.

        Returns:
            The file of the version.
        """
        pointer, versions = self.pointer(as_of), self._versions(as_of)
        beside = versions / f".{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
        try:
            name = _write(frame, beside / pointer.name, as_of)
            version = versions / name
            file = version / pointer.name / f"part-{name}.parquet"
            if not version.exists():
                flush_below(beside)
                beside.rename(version)
                flush(versions)
            elif not file.is_file() or altered(file):
                flush_below(beside)
                make_folder(file.parent)
                (beside / file.relative_to(version)).replace(file)
                flush(file.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._point(as_of, version)
        return file

    def withdraw(self, as_of: str) -> None:
        """Publish nothing for a date any more; its last version stays for those who read it."""
        pointer = self.pointer(as_of)
        if pointer.is_symlink():
            self._left_now(pointer)
            pointer.unlink()
            flush(pointer.parent)
        else:
            discard(pointer)

    def left(self, seconds: float) -> Iterator[Path]:
        """Versions that nothing has pointed at for longer than some seconds."""
        for versions in sorted((self.lake / PUBLISHED / self.table).glob("[0-9]*-*-*")):
            now = self._target(versions.name)
            for version in sorted(versions.iterdir()):
                if not version.name.startswith(".") and version != now and age(version.stat().st_mtime) > seconds:
                    yield version

    def forget(self, version: Path) -> None:
        """Delete a version."""
        discard(version)
        if not any(version.parent.iterdir()):
            version.parent.rmdir()

    def _unread(self, as_of: str, error: Exception) -> PublicationError:
        where = self.resolve(as_of)
        return PublicationError(f"{where} cannot be read ({error}): run the night of {as_of} again")

    def _versions(self, as_of: str) -> Path:
        return self.lake / PUBLISHED / self.table / as_of

    def _target(self, as_of: str) -> Path | None:
        """The version that the pointer names; None without one. The one place that knows the pointer's form."""
        pointer = self.pointer(as_of)
        if pointer.is_symlink():
            return self._versions(as_of) / Path(os.readlink(pointer)).parent.name
        copied = [
            self._versions(as_of) / found.group(1) for f in pointer.glob("*") if (found := _FILE.fullmatch(f.name))
        ]
        return next((version for version in copied if version.is_dir()), None)

    def _folder(self, as_of: str) -> Path:
        """The folder of the file. A folder in the pointer's place was made by a copy that followed the link, or by an
        earlier release of this software; the next publication of other content replaces it."""
        pointer, version = self.pointer(as_of), self._target(as_of)
        folder = pointer if version is None else version / f"{AS_OF}={as_of}"
        if not folder.is_dir():
            raise PublicationError(f"{self.table} of {as_of} is not published: run the night of {as_of}")
        return folder

    def _point(self, as_of: str, version: Path) -> None:
        """Switch the pointer, by one rename."""
        if self._target(as_of) == version:
            return
        pointer = self.pointer(as_of)
        make_folder(pointer.parent)
        link = version.with_name(f".{version.name}.{os.getpid()}.part")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(version / pointer.name, pointer.parent), target_is_directory=True)
        if pointer.is_symlink():
            self._left_now(pointer)
        elif pointer.exists():
            pointer.rename(version.with_name(f".{pointer.name}.{os.getpid()}.old"))
        link.replace(pointer)
        flush(pointer.parent)

    def _left_now(self, pointer: Path) -> None:
        """Note on the version that its readers begin to leave it now (`left` reads it)."""
        version = self._target(pointer.name.partition("=")[2])
        if version is not None and version.is_dir():
            os.utime(version)


def published_words(lake: Path, day: date) -> str:
    """What readers see of the scores of a date, in a clause."""
    published, as_of = Published(lake, "scores"), day.isoformat()
    if as_of not in published.dates():
        return f"no scores of {day} are published"
    try:
        return f"the scores of {day} are published, by run {published.read(as_of)['run_id'][0]}"
    except (PublicationError, OSError, pl.exceptions.PolarsError) as error:
        return f"the scores of {day} cannot be read: {error}"


def tables(lake: Path) -> list[str]:
    """Names of the tables that have a version or a pointer, or dates in the form of an earlier release."""
    found = set()
    for root, is_date in ((lake, _is_pointer), (lake / PUBLISHED, _DATE.fullmatch)):
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


def altered(file: Path) -> bool:
    """Whether a file's bytes are not those of its name. One that is named otherwise cannot be told."""
    named = _FILE.fullmatch(file.name)
    return named is not None and file_digest(file)[:16] != named.group(1)


def _write(frame: pl.DataFrame | pl.LazyFrame, folder: Path, as_of: str) -> str:
    """Write the file of a version; its name. The column `as_of` goes where its values are those of the path. What is
    not in memory is never there as a whole."""
    metadata = None
    columns = frame.collect_schema()
    of_date = (pl.col(AS_OF) == date.fromisoformat(as_of)).all(ignore_nulls=False)
    if columns.get(AS_OF) == pl.Date and frame.lazy().select(of_date).collect().item():
        metadata = {_POSITION: str(columns.names().index(AS_OF))}
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
