"""Versions of a table on a file system. The pointer is a link, switched by one rename.

    <lake>/published/<table>/<date>/<version>/as_of=<date>/part-<version>.parquet    a version; it never changes
    <lake>/<table>/as_of=<date>                                                      the pointer: a link to a version

Readers that know nothing of versions follow the link. Source: docs/decisions/0016-publication.md.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline.clock import age
from pipeline.resources.files import discard, flush_below, make_folder
from pipeline.resources.versions import AS_OF, FILE, PUBLISHED, Place, PublicationError, altered, beside, write
from ple_model.serving.files import flush


@dataclass(frozen=True)
class LocalVersions:
    """The versions of a table below a folder."""

    lake: Path
    table: str

    def pointer(self, as_of: str) -> Path:
        """What readers open who do not resolve a version: `lake/<table>/as_of=<date>`."""
        return self.lake / self.table / f"{AS_OF}={as_of}"

    def dates(self) -> list[str]:
        folders = (self.lake / self.table).glob(f"{AS_OF}=*")
        return sorted(folder.name.partition("=")[2] for folder in folders if folder.is_dir())

    def has(self, as_of: str) -> bool:
        return self.pointer(as_of).is_dir()

    def resolve(self, as_of: str) -> Path:
        """A folder; the pointer itself where that is one (`_folder`)."""
        self._folder(as_of)
        return self._target(as_of) or self.pointer(as_of)

    def file(self, as_of: str) -> Path:
        folder = self._folder(as_of)
        files = sorted(folder.glob("*.parquet"))
        if len(files) != 1:
            raise PublicationError(f"{folder} holds {len(files)} files instead of one: run the night of {as_of} again")
        if altered(files[0]):
            raise PublicationError(f"{files[0]} was altered: run the night of {as_of} again")
        return files[0]

    def publish(self, frame: pl.DataFrame | pl.LazyFrame, as_of: str) -> Path:
        file = self.keep(frame, as_of)
        self._point(as_of, file.parents[1])
        return file

    def keep(self, frame: pl.DataFrame | pl.LazyFrame, as_of: str) -> Path:
        """Write a version where no reader looks, flush it, and put it in its place; its file. Equal content is not
        written again, and a version that was altered on disk is replaced."""
        pointer, versions = self.pointer(as_of), self._versions(as_of)
        new = beside(versions)
        try:
            name = write(frame, new / pointer.name, as_of)
            version = versions / name
            file = version / pointer.name / f"part-{name}.parquet"
            if not version.exists():
                flush_below(new)
                new.rename(version)
                flush(versions)
            elif not file.is_file() or altered(file):
                flush_below(new)
                make_folder(file.parent)
                (new / file.relative_to(version)).replace(file)
                flush(file.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return file

    def withdraw(self, as_of: str) -> None:
        pointer = self.pointer(as_of)
        if pointer.is_symlink():
            self._left_now(as_of)
            pointer.unlink()
            flush(pointer.parent)
        else:
            discard(pointer)

    def left(self, seconds: float) -> Iterator[Path]:
        for versions in sorted((self.lake / PUBLISHED / self.table).glob("[0-9]*-*-*")):
            now = self._target(versions.name)
            for version in sorted(versions.iterdir()):
                if not version.name.startswith(".") and version != now and age(version.stat().st_mtime) > seconds:
                    yield version

    def forget(self, version: Place) -> None:
        folder = Path(version)
        discard(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()

    def files(self, version: Place) -> list[Path]:
        return sorted(Path(version).rglob("*.parquet"))

    def bytes_of(self, version: Place) -> int:
        return sum(file.lstat().st_size for file in Path(version).rglob("*") if not file.is_dir())

    def address(self, path: Path) -> Path:
        return path

    def _versions(self, as_of: str) -> Path:
        return self.lake / PUBLISHED / self.table / as_of

    def _target(self, as_of: str) -> Path | None:
        """The version that the pointer names; None without one. The one place that knows the pointer's form."""
        pointer = self.pointer(as_of)
        if pointer.is_symlink():
            return self._versions(as_of) / Path(os.readlink(pointer)).parent.name
        copied = [
            self._versions(as_of) / found.group(1) for f in pointer.glob("*") if (found := FILE.fullmatch(f.name))
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
            self._left_now(as_of)
        elif pointer.exists():
            pointer.rename(version.with_name(f".{pointer.name}.{os.getpid()}.old"))
        link.replace(pointer)
        flush(pointer.parent)

    def _left_now(self, as_of: str) -> None:
        """Note on the version that its readers begin to leave it now (`left` reads it)."""
        version = self._target(as_of)
        if version is not None and version.is_dir():
            os.utime(version)
