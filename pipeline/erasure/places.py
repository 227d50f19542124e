"""Customers in files of a home, each kind of place in its own way: a file, a sealed folder, a published table.

Each function tells how many rows or texts it takes out, and with `dry` changes nothing. All of them may be called again
after a kill: a file, a folder or a version is the old one or the new one.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from feature_assets.data.coercion import DeliveryError
from pipeline.erasure.words import Who
from pipeline.intake.forgotten import CUSTOMER_COLUMNS, canonical, clean_file, rows_without
from pipeline.resources.digests import SEAL, broken, seal
from pipeline.resources.files import discard, empty_beside, publish_bytes, publish_folder, publish_frame
from pipeline.resources.publication import Published, named, tables

TEXTS = (".json", ".md", ".html", ".txt", ".log", ".csv", ".out", ".err", "")
"""Ends of the names of files that people read; trees of a bundle end so as well, and are never looked at."""
OF_THE_MODEL = (
    *("model.json", "tasks.json", "calibration.json", "schema.json", "labels.json", "dataset.json", "state.json"),
    *("label_state.json", "columns.json", "material.json", "seal.json"),
)
"""Files that hold no customer, but names of classes, brands and columns, which may be the same text as an id; digests
hold the model to them."""
_SHOWN = ("first row", "first")
"""Columns of counts that show a delivered row as JSON."""


class ErasureError(ValueError):
    """Something that holds a customer and cannot be cleaned; says what to do."""


def clean_frame(frame: pl.DataFrame, who: Who) -> tuple[pl.DataFrame, int]:
    """A frame without their rows: by a column that names a customer, or by a delivered row in a column of JSON."""
    lazy, rows = rows_without(frame.lazy(), who.among)
    frame = lazy.collect() if rows else frame
    if {"row", "reason"} <= set(frame.columns) and frame["row"].dtype == pl.String:
        theirs = _in_json(frame["row"], who)
        rows += int(theirs.sum())
        frame = frame.filter(~theirs)
    for column in (name for name in _SHOWN if name in frame.columns and frame[name].dtype == pl.String):
        theirs = _in_json(frame[column], who)
        rows += int(theirs.sum())
        frame = frame.with_columns(pl.when(theirs).then(pl.lit("")).otherwise(pl.col(column)).alias(column))
    return frame, rows


def _in_json(rows: pl.Series, who: Who) -> pl.Series:
    found = pl.repeat(False, len(rows), eager=True)
    for name in CUSTOMER_COLUMNS:
        ids = canonical(rows.str.json_path_match(f"$.{name}"))
        found |= ids.is_in(list(who.ids)).fill_null(False)
    return found


def clean(file: Path, who: Who, dry: bool) -> int:
    """Take them out of one file.

    Raises:
        ErasureError: a Parquet file cannot be read.
    """
    if file.suffix == ".parquet":
        return _clean_parquet(file, who, dry)
    if file.suffix not in TEXTS or file.name in OF_THE_MODEL:
        return 0
    content = file.read_bytes()
    if not who.perhaps_in(content):
        return 0
    try:
        before = content.decode()
    except UnicodeDecodeError:
        return 0
    after = who.document(before) if file.suffix == ".json" else who.text(before)
    if after == before:
        return 0
    if not dry:
        publish_bytes(after.encode(), file)
    return 1


def _clean_parquet(file: Path, who: Who, dry: bool) -> int:
    try:
        names = set(pl.read_parquet_schema(file))
        if names & {"row", *_SHOWN}:
            frame, rows = clean_frame(pl.read_parquet(file, hive_partitioning=False), who)
            if rows and not dry:
                publish_frame(frame, file)
            return rows
        return clean_file(file, who.among, dry) if names & set(CUSTOMER_COLUMNS) else 0
    except Exception as error:  # whatever a damaged file makes polars raise
        raise ErasureError(
            f"{file} cannot be read, and may hold them: delete it, or restore it from a backup ({error})"
        ) from error


def files_below(folder: Path) -> Iterator[Path]:
    """Every file of a folder, links not followed."""
    for where, names, files in os.walk(folder):
        names.sort()
        yield from (file for name in sorted(files) if not (file := Path(where, name)).is_symlink())


Way = Callable[[Path, bool], int]
"""Takes them out of a folder, or tells only; how many rows."""


def clean_sealed(
    folder: Path, who: Who, dry: bool, own: Mapping[str, Way] = MappingProxyType({})
) -> tuple[int, Path | None]:
    """Take them out of a sealed folder by one beside it with a seal of its own, which the caller publishes.

    Args:
        own: folders in it that are cleaned in ways of their own.

    Returns:
        What is taken out, and the folder beside; None where nothing is.
    """

    def looked_at(root: Path) -> list[Path]:
        return [file for file in files_below(root) if file.name != SEAL and file.relative_to(root).parts[0] not in own]

    found = sum(clean(file, who, dry=True) for file in looked_at(folder))
    found += sum(way(folder / name, True) for name, way in own.items() if (folder / name).is_dir())
    if not found or dry:
        return found, None
    beside = empty_beside(folder)
    for file in files_below(folder):
        copy = beside / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        _link(file, copy)
    for file in looked_at(beside):
        clean(file, who, dry=False)
    for name, way in own.items():
        if (beside / name).is_dir():
            way(beside / name, False)
    seal(beside)
    return found, beside


def clean_made_again(folder: Path, who: Who, dry: bool) -> int:
    """Take them out of a sealed folder that is made again where it is missing: one that was altered goes."""
    if broken(folder):
        if not dry:
            discard(folder)
        return 0
    found, beside = clean_sealed(folder, who, dry)
    if beside is not None:
        publish_folder(beside, folder)
    return found


def clean_kept(folder: Path, who: Who, dry: bool, own: Mapping[str, Way]) -> int:
    """Take them out of a sealed folder that nothing can make again, as `clean_sealed`.

    Raises:
        ErasureError: it was altered, so that a new seal would prove what nobody wrote; or a file cannot be cleaned.
    """
    if why := broken(folder):
        raise ErasureError(f"{why}: restore the folder from a backup, and forget again")
    try:
        found, beside = clean_sealed(folder, who, dry, own)
    except (DeliveryError, pl.exceptions.PolarsError) as error:
        raise ErasureError(str(error)) from error
    if beside is not None:
        publish_folder(beside, folder)
    return found


def clean_published(lake: Path, who: Who, dry: bool) -> Iterator[tuple[str, int]]:
    """Table and date → rows taken out: a version without them is published, and every version with them removed, at
    once, whoever reads it.

    Raises:
        PublicationError: a table that holds them was altered.
    """
    for name in tables(lake):
        published = Published(lake, name)
        for day in published.dates():
            was = published.resolve(day)
            rows = sum(clean(file, who, dry=True) for file in published.files(was))
            if rows and not dry:
                frame, _ = clean_frame(published.read(day), who)
                published.publish(frame, day)
                if was != published.pointer(day):
                    published.forget(was)
            yield f"{name} {day}", rows
        for version in published.left(-math.inf):
            if rows := sum(_old(file, who) for file in published.files(version)):
                if not dry:
                    published.forget(version)
                day, number = named(version)
                yield f"{name} {day} {number}, replaced", rows


def _old(file: Path, who: Who) -> int:
    """Rows of theirs in a version that was replaced; one that cannot be read goes as well."""
    try:
        return clean(file, who, dry=True)
    except ErasureError:
        return 1


def _link(file: Path, copy: Path) -> None:
    """The same file under another name: what is changed is written anew. A copy, where the disk knows no links."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copyfile(file, copy)
