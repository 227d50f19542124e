"""Finding the files of a delivery, by one rule for every source.

A table lies in **one place**: a file `<table>.parquet`, or a folder `<table>` or `<table>.parquet` of parts, in the
folder of the delivery or in its folder `tables`. `.parq` and `.pq` are other names of the suffix, which may be written
in capitals. Parts are all Parquet files below a table's folder, in folders `name=value` as well. Names that begin with
`.` or `_` belong to whoever wrote the files and hold no rows. Whatever else lies there and is not read is an error
where it may be a part of a table, and a note where not. Opening the files belongs to `files.py`. Source: DATA §1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.declaration import Table
from feature_assets.data.folding import folded

SUFFIXES = (".parquet", ".parq", ".pq")
FOLDER = "tables"  # beside the tables, or around them
MARKS = ("_SUCCESS", ".DS_Store")  # left by writers and file managers, of no meaning here: not worth a note
UNFINISHED = ("_temporary", "_started")
FORMATS = {"_delta_log": "Delta", ".hoodie": "Hudi"}  # folder inside a table's folder → whose table it is
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
SHOWN = 6  # names in a message


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
        path: the file.
        inside: its path below the folder of the table; "" where the table is one file.
    """

    path: Path
    inside: str = ""

    @property
    def values(self) -> dict[str, str | None]:
        """Name → value of the folders `name=value` that it lies in."""
        pairs = [folder.partition("=") for folder in self.inside.split("/")[:-1] if "=" in folder]
        return {unquote(name): None if value == NO_VALUE else unquote(value) for name, _, value in pairs}


@dataclass(frozen=True)
class Found:
    """What lies in a delivery.

    Attributes:
        parts: delivered table → its files, in the order of their names.
        notes: for the reader of the run: optional tables that are missing, and what lies there and is not read.
    """

    parts: dict[str, tuple[Part, ...]]
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, Path]:
        """Table, or `<table>/<part>` where it is a folder → file."""
        return {
            f"{name}/{part.inside}" if part.inside else name: part.path
            for name, parts in self.parts.items()
            for part in parts
        }


def find(directory: Path, declared: Mapping[str, Table]) -> Found:
    """The files of each declared table in a delivery.

    Raises:
        DeliveryError: the directory or a required table is missing; a table lies in two places, under another name, in
            another format, or beside files that are no part of it; a writer has not finished; a link leads nowhere.
    """
    if not directory.is_dir():
        raise DeliveryError(f"{directory} is not a folder: give the folder that holds {next(iter(declared))}.parquet")
    places: dict[str, list[Path]] = {}
    resembling: dict[str, list[Path]] = {}
    strange: list[str] = []
    for path in _entries(directory):
        table = next((name for name in declared if _is_place(path, name)), None)
        alike = next((name for name in declared if folded(path.name.split(".")[0]) == name), None)
        if _hidden(path):
            strange += [] if path.name in MARKS else [str(path.relative_to(directory))]
        elif table is not None:
            places.setdefault(table, []).append(path)
        elif alike is not None:
            resembling.setdefault(alike, []).append(path)
        elif path != directory / FOLDER:
            strange.append(str(path.relative_to(directory)))
    parts: dict[str, tuple[Part, ...]] = {}
    notes: list[str] = []
    for table, paths in places.items():
        filled = {path: found for path in paths if (found := _parts(table, path, notes))}
        if len(filled) > 1:
            raise DeliveryError(
                f"table {table} lies in several places: {_shown(filled)}. Which one is meant cannot be told: leave one."
            )
        if filled:
            parts[table] = next(iter(filled.values()))
    for table, paths in resembling.items():
        rival = [path for path in paths if path.is_dir() or _suffix(path)]
        if table not in parts or rival:
            raise DeliveryError(
                f"table {table}: {_shown(rival or paths)} looks like it and is not read. "
                f"Deliver the table once, as {table}.parquet, or take the file away."
            )
        strange += [str(path.relative_to(directory)) for path in paths]
    _require(directory, declared, parts)
    absent = [name for name, table in declared.items() if not table.required and name not in parts]
    notes = [*(f"table {name} was not delivered" for name in absent), *notes]
    if strange:
        notes.append(f"in {directory} lies what is no table and is not read: {_shown(sorted(strange))}")
    return Found({name: parts[name] for name in declared if name in parts}, tuple(notes))


def _require(directory: Path, declared: Mapping[str, Table], parts: Mapping[str, object]) -> None:
    missing = [name for name, table in declared.items() if table.required and name not in parts]
    if missing:
        held = _shown(sorted(path.name for path in _listed(directory))) or "nothing"
        raise DeliveryError(
            f"required table{'s' if len(missing) > 1 else ''} {', '.join(missing)}: found neither "
            f"{directory}/<table>.parquet nor a folder of parts of that name, there or in {directory}/{FOLDER}. "
            f"Tables found: {', '.join(parts) or 'none'}. The folder holds: {held}."
        )


def _entries(directory: Path) -> Iterator[Path]:
    yield from _listed(directory)
    if (directory / FOLDER).is_dir():
        yield from _listed(directory / FOLDER)


def _listed(directory: Path) -> list[Path]:
    """What lies in a folder, by name.

    Raises:
        DeliveryError: it cannot be listed.
    """
    try:
        return sorted(directory.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DeliveryError(f"{directory} cannot be read: {error.strerror}. Allow it, or deliver it again.") from error


def _hidden(path: Path) -> bool:
    return path.name.startswith((".", "_"))


def _suffix(path: Path) -> str:
    """The end of the name that says Parquet, as it is written; "" for any other file."""
    suffix = path.suffix
    return suffix if suffix.lower() in SUFFIXES else ""


def _is_place(path: Path, table: str) -> bool:
    suffix = _suffix(path)
    return path.name.removesuffix(suffix) == table and (bool(suffix) or path.is_dir())


def _parts(table: str, place: Path, notes: list[str]) -> tuple[Part, ...]:
    """The files of a table in one of its places; () in an empty folder, with a note.

    Raises:
        DeliveryError: as `find`.
    """
    if not place.is_dir():
        _require_file(table, place)
        return (Part(place),)
    skipped: list[str] = []
    parts = tuple(_below(table, place, place, skipped, ()))
    if not parts:
        notes.append(f"table {table}: the folder {place} holds no Parquet file")
    if skipped:
        notes.append(f"table {table}: not read in {place}, by their names: {_shown(skipped)}")
    return parts


def _below(table: str, place: Path, folder: Path, skipped: list[str], above: tuple[Path, ...]) -> Iterator[Part]:
    if (real := folder.resolve()) in above:
        raise DeliveryError(f"table {table}: {folder} holds itself by a link. Take the link away.")
    for path in _listed(folder):
        inside = path.relative_to(place).as_posix()
        _require_plain(table, place, path)
        if _hidden(path):
            skipped += [] if path.name in MARKS or path.suffix == ".crc" else [inside]
        elif path.is_dir():
            yield from _below(table, place, path, skipped, (*above, real))
        elif not _suffix(path) and path.exists():
            raise DeliveryError(
                f"table {table}: {path} is not named like a Parquet file. If it is a part of the table, call it "
                f"{path.name}.parquet; if not, take it away."
            )
        else:
            _require_file(table, path)
            yield Part(path, inside)


def _require_plain(table: str, place: Path, path: Path) -> None:
    """Refuse what says that the Parquet files beside it are not, or not yet, the rows of the table."""
    if path.name.startswith(UNFINISHED):
        raise DeliveryError(
            f"table {table}: {path} says that its writer has not finished. Wait for it, or deliver the table again."
        )
    iceberg = path.name == "metadata" and any(path.glob("*.metadata.json"))
    of = "Iceberg" if iceberg else FORMATS.get(path.name)
    if of is not None:
        raise DeliveryError(
            f"table {table}: {place} has the format of {of}. Which of its files hold rows is in its log ({path.name}), "
            f"which is not read, and removed files may lie among them. Export the table as plain Parquet."
        )


def _require_file(table: str, path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DeliveryError(
            f"table {table}: {path} is a link to {os.readlink(path)}, where nothing lies. Deliver the file, or take "
            f"the link away."
        )
    if not path.is_file():
        raise DeliveryError(f"table {table}: {path} is neither a file nor a folder. Deliver it as a file.")


def _shown(names: Mapping[Path, object] | Sequence[Path | str]) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
