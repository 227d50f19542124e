"""Where a table of the user's own lies. One class a kind of place: files, and what was read from a database.

No database is asked here: a delivery holds what was read from it as Parquet (`pipeline/intake/extracts.py`). How values
are read belongs to `values.py`. Source: DATA §1.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from feature_assets.closed import nearest
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.declaration import Table
from feature_assets.data.mapping import TextFormat
from feature_assets.sources.files import scan
from feature_assets.sources.own.text_files import TEXT_SUFFIXES, scan_text, suffix_of

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
EXTRACTS = ".database"
"""Folder in a delivery of what was read from databases, where no pattern of files leads to."""


@dataclass(frozen=True)
class Opened:
    """A part of a table.

    Attributes:
        name: for messages.
        frame: its rows, as they stand there.
        as_asked: whether it has the columns that a description named when it was made, and may lack later ones.
    """

    name: str
    frame: pl.LazyFrame
    as_asked: bool = False


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


@dataclass(frozen=True)
class Extract:
    """What was read from a table of a database, all values as text.

    Attributes:
        table: declaration of the table, for messages.
        folder: of the delivery.
    """

    table: Table
    folder: Path

    def files(self) -> list[Path]:
        """Its file; none where no row was read."""
        file = extract_file(self.folder, self.table.name)
        return [file] if file.is_file() else []

    def nothing(self) -> str:
        """What to say where there is none."""
        return f"table {self.table.name}: {self.folder} holds nothing that was read from its database"

    def parts(self) -> list[Opened]:
        """The one part."""
        return [Opened(path.name, scan(self.table.name, path), as_asked=True) for path in self.files()]


def extract_file(folder: Path, table: str) -> Path:
    """Where a delivery holds what was read from a database for a table."""
    return folder / EXTRACTS / f"{table}.parquet"


def place_of(name: str, dataset: DatasetConfig, folder: Path) -> Place:
    """Where a table of a description lies in the folder of a delivery.

    Raises:
        DeliveryError: it is a part of a table that has no rows of its own.
    """
    mapping = dataset.tables[name]
    of = dataset.tables[mapping.rows_of] if mapping.rows_of else mapping
    if of.database is not None:
        return Extract(CONTRACT[mapping.rows_of or name].delivered, folder)
    if of.files is None:
        raise DeliveryError(f"table {name}: rows_of leads to {mapping.rows_of}, which has no rows of its own")
    return Files(CONTRACT[name].delivered, of.files, folder, of.text)
