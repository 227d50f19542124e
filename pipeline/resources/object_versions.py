"""Versions of a table in an object store. The pointer is one small object, put last: no rename, no link, no listing.

    <url>/published/<table>/<date>/<version>/as_of=<date>/part-<version>.parquet    a version; it never changes
    <url>/<table>/as_of=<date>.json                                                 the pointer: path, bytes and tag
    <url>/published/<table>/ledger.json                                             which names there are (`ledger`)

A version that this machine made or read lies in its lake as well, at the same path, and is verified whenever it is
read. A request that fails in the end leaves the old version or the new one; publishing again finishes what was begun.
Source: docs/decisions/0020-object-store.md.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from pipeline.clock import age
from pipeline.resources.files import discard, make_folder
from pipeline.resources.ledger import Day, Kept, Ledger, known_tables, note_table
from pipeline.resources.local_versions import LocalVersions
from pipeline.resources.remote import Remote, Seen
from pipeline.resources.versions import AS_OF, Place, PublicationError, altered, beside, named, path_of
from ple_model.serving.files import flush


@dataclass(frozen=True)
class Pointer:
    """The content of a pointer: path of a version below the lake's URL, its bytes, and the store's tag of its content,
    by which an object that was replaced is told without reading it."""

    path: str
    bytes: int
    tag: str

    @property
    def version(self) -> str:
        """Its name."""
        return named(self.path)[1]

    def is_of(self, seen: Seen | None) -> bool:
        """Whether the object that the store has is the one that was published."""
        return seen is not None and seen.bytes == self.bytes and (not seen.tag or not self.tag or seen.tag == self.tag)


@dataclass(frozen=True)
class ObjectVersions:
    """The versions of a table below a URL, and copies of them in the lake's folder on this machine."""

    lake: Path
    table: str
    url: str

    @property
    def remote(self) -> Remote:
        return Remote(self.url)

    @property
    def copies(self) -> LocalVersions:
        return LocalVersions(self.lake, self.table)

    def pointer(self, as_of: str) -> str:
        return f"{self.url}/{self._pointer(as_of)}"

    def dates(self) -> list[str]:
        """Those of the ledger; whether an open one is published its pointer says."""
        ledger = self._ledger()
        return sorted(
            day for day, known in ledger.days.items() if (self.has(day) if known.open else known.now is not None)
        )

    def has(self, as_of: str) -> bool:
        return self.remote.read(self._pointer(as_of)) is not None

    def resolve(self, as_of: str) -> str:
        return f"{self.url}/{self._published(as_of).path}"

    def file(self, as_of: str) -> Path:
        """The copy on this machine, fetched where it is missing or was altered."""
        pointer = self._published(as_of)
        where = f"{self.url}/{pointer.path}"
        if not pointer.is_of(self.remote.look(pointer.path)):
            raise PublicationError(f"{where} was altered or is gone: run the night of {as_of} again")
        copy = self.lake / pointer.path
        if (not copy.is_file() or altered(copy)) and (not self._fetch(pointer.path) or altered(copy)):
            raise PublicationError(f"{where} was altered: run the night of {as_of} again")
        return copy

    def publish(self, frame: pl.DataFrame | pl.LazyFrame, as_of: str) -> Path:
        """The version is noted in the ledger, uploaded, looked at, pointed at, and noted as published. Where the
        pointer names it already and the store has what was published, only the ledger is settled."""
        file = self.copies.keep(frame, as_of)
        version, size = file.parents[1].name, file.stat().st_size
        path = path_of(self.table, as_of, version)
        before = self._named_version(as_of)
        ledger = Ledger.read(self.remote, self.table)
        if ledger is None:
            note_table(self.remote, self.table)
            ledger = Ledger.found(self.remote, self.table)
        day = ledger.days.setdefault(as_of, Day())
        if before is None or before.version != version or not before.is_of(self.remote.look(path)):
            day.open = True
            day.versions.setdefault(version, Kept(size, time.time()))
            ledger.write()
            pointer = Pointer(path, size, self.remote.upload(file, path).tag)
            self.remote.write(self._pointer(as_of), json.dumps(asdict(pointer)).encode())
        if day.open or day.now != version:
            day.versions.setdefault(version, Kept(size, time.time()))
            _settle(day, version, before)
            ledger.write()
        return file

    def withdraw(self, as_of: str) -> None:
        ledger = self._ledger()
        day = ledger.days.setdefault(as_of, Day())
        before = self._named_version(as_of)
        day.open = True
        ledger.write()
        self.remote.delete(self._pointer(as_of))
        _settle(day, None, before)
        ledger.write()

    def left(self, seconds: float) -> Iterator[str]:
        """Of the ledger, and copies on this machine of versions that another one deleted."""
        known: set[tuple[str, str]] = set()
        for as_of, day in sorted(self._ledger().days.items()):
            now = day.now
            if day.open:
                pointer = self._named_version(as_of)
                now = pointer.version if pointer else None
            for version, kept in sorted(day.versions.items()):
                known.add((as_of, version))
                if version != now and age(kept.since) > seconds:
                    yield f"{self.url}/{path_of(self.table, as_of, version)}"
        for folder in self.copies.left(seconds):
            as_of, version = named(folder)
            if (as_of, version) not in known:
                yield f"{self.url}/{path_of(self.table, as_of, version)}"

    def forget(self, version: Place) -> None:
        """Where the version is kept, and the copy on this machine."""
        as_of, name = named(version)
        self.remote.delete(path_of(self.table, as_of, name))
        ledger = self._ledger()
        if as_of in ledger.days and ledger.days[as_of].versions.pop(name, None) is not None:
            ledger.write()
        copy = self._copy(version)
        if copy.is_dir():
            self.copies.forget(copy)

    def files(self, version: Place) -> list[Path]:
        """The copy on this machine, fetched where it is missing; none where the version is gone."""
        as_of, name = named(version)
        path = path_of(self.table, as_of, name)
        if not (self.lake / path).is_file() and not self._fetch(path):
            return []
        return [self.lake / path]

    def bytes_of(self, version: Place) -> int:
        as_of, name = named(version)
        day = self._ledger().days.get(as_of)
        return day.versions[name].bytes if day is not None and name in day.versions else 0

    def address(self, path: Path) -> str:
        return f"{self.url}/{path.relative_to(self.lake).as_posix()}"

    def _pointer(self, as_of: str) -> str:
        return f"{self.table}/{AS_OF}={as_of}.json"

    def _ledger(self) -> Ledger:
        """The ledger; from a listing where there is none."""
        return Ledger.read(self.remote, self.table) or Ledger.found(self.remote, self.table)

    def _named_version(self, as_of: str) -> Pointer | None:
        """What the pointer says; None where there is none, or one that says nothing of this table and date."""
        content = self.remote.read(self._pointer(as_of))
        try:
            pointer = Pointer(**json.loads(content)) if content is not None else None
            right = pointer is None or pointer.path == path_of(self.table, as_of, pointer.version)
        except (ValueError, TypeError):
            return None
        return pointer if right else None

    def _published(self, as_of: str) -> Pointer:
        pointer = self._named_version(as_of)
        if pointer is None:
            raise PublicationError(f"{self.table} of {as_of} is not published: run the night of {as_of}")
        return pointer

    def _copy(self, version: Place) -> Path:
        return self.lake / Path(path_of(self.table, *named(version))).parents[1]

    def _fetch(self, path: str) -> bool:
        """Put a copy of a version in its place on this machine, whole; False where the version is gone."""
        file = self.lake / path
        make_folder(file.parent)
        part = beside(file.parent)
        try:
            if not self.remote.download(path, part):
                return False
            flush(part)
            part.replace(file)
        finally:
            discard(part)
        flush(file.parent)
        return True


def tables_under(url: str) -> list[str]:
    """Names of the tables of a lake under a URL."""
    return known_tables(Remote(url))


def _settle(day: Day, version: str | None, before: Pointer | None) -> None:
    """Note what the pointer of a date now names; the readers of what it named before leave now."""
    for name in {day.now, before.version if before else None} - {version, None}:
        if name in day.versions:
            day.versions[name].since = time.time()
    day.now, day.open = version, False
