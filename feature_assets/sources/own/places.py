"""Where a table of the user's files lies. One class a kind of place: a database would be one more.

How a file's values are read belongs to `values.py`. Source: DATA §1.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.declaration import Table
from feature_assets.data.mapping import TextFormat
from feature_assets.sources.files import scan
from feature_assets.sources.own.text_files import TEXT_SUFFIXES, scan_text, suffix_of

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")


@dataclass(frozen=True)
class Opened:
    """A part of a table.

    Attributes:
        name: for messages.
        frame: its rows, as they stand there.
    """

    name: str
    frame: pl.LazyFrame


class Place(Protocol):
    """A place of a table."""

    def files(self) -> list[Path]:
        """The files whose content decides what is read; none where nothing was delivered."""

    def nothing(self) -> str:
        """What to say where there is none."""

    def parts(self) -> list[Opened]:
        """Its parts in a stable order; reads schemas only.

        Raises:
            DeliveryError: one of them cannot be read.
        """


@dataclass(frozen=True)
class Files:
    """Text or Parquet files: one, those that a pattern names, or all in a folder.

    Attributes:
        table: declaration of the table, for messages.
        where: file, pattern or folder, from `folder` on.
        text: how text files are written.
    """

    table: Table
    where: str
    folder: Path
    text: TextFormat

    def files(self) -> list[Path]:
        """The files, by name; those that begin with `.` or `_` belong to whoever wrote them."""
        path = self.folder / self.where
        if path.is_file():
            return [path]
        if path.is_dir():
            found = [each for each in sorted(path.rglob("*")) if each.is_file() and not self._hidden(each)]
            if strange := [each for each in found if suffix_of(each) not in (*TEXT_SUFFIXES, *PARQUET_SUFFIXES)]:
                raise DeliveryError(
                    f"table {self.table.name}: {strange[0]} is neither text ({', '.join(TEXT_SUFFIXES)}) nor Parquet "
                    f"by its name. Take it away, or name the files by a pattern such as {self.where}/*.csv."
                )
        else:
            names = glob.glob(self.where, root_dir=self.folder, recursive=True)
            found = [each for name in sorted(names) if (each := self.folder / name).is_file()]
        return found

    def _hidden(self, path: Path) -> bool:
        return any(part.startswith((".", "_")) for part in path.relative_to(self.folder / self.where).parts)

    def nothing(self) -> str:
        """What to say where no file is found."""
        table = f"table {self.table.name}:"
        if not self.folder.is_dir():
            return f"{table} {self.folder} is not a folder: give the folder of its files."
        held = sorted(path.name for path in self.folder.iterdir())
        hint = nearest(self.where, held).replace("known keys", "there lie") if held else "it is empty"
        return f"{table} {self.where!r} leads to no file in {self.folder}: {hint}"

    def parts(self) -> list[Opened]:
        """Each file by itself: text by the declared format, Parquet by its own types."""
        return [Opened(path.name, self._open(path)) for path in self.files()]

    def _open(self, path: Path) -> pl.LazyFrame:
        if suffix_of(path) in PARQUET_SUFFIXES:
            return scan(self.table.name, path)
        return scan_text(self.table.name, path, self.text)
