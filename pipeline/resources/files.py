"""Atomic writes: a reader sees the old file or folder or the new one, never a part of it.

Everything that the pipeline writes goes through here; a file's write itself is `ple_model.serving.files.publishing`.
Tables that readers scan are published by `pipeline.resources.publication`, which writes where no scan looks.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from ple_model.serving.files import flush, publish, publishing

STRAY = (".part", ".old")
"""Ends of the hidden names under which files and folders are written, or step aside."""
_SQLITE = b"SQLite format 3\0"


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, each of them on the disk before anything is written into it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        flush(path.parent)


def publish_bytes(content: bytes, file: Path) -> None:
    """Write beside, flush to the disk, rename. Creates the folder of the file."""
    make_folder(file.parent)
    publish(file, content)


def publish_frame(frame: pl.DataFrame, file: Path) -> None:
    """A frame as Parquet."""
    make_folder(file.parent)
    with publishing(file) as beside:
        frame.write_parquet(beside, compression="zstd", statistics=True)


def publish_json(content: Any, file: Path) -> None:
    """A JSON document."""
    publish_bytes(json.dumps(content, indent=1).encode(), file)


def publish_folder(beside: Path, folder: Path) -> None:
    """Put a finished folder in its place: flush what it holds, then rename; an older folder steps aside first, and
    comes back where the new one cannot take its place."""
    flush_below(beside)
    make_folder(folder.parent)
    old = _aside(folder)
    if folder.exists():
        folder.rename(old)
    try:
        beside.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def empty_beside(folder: Path) -> Path:
    """An empty folder next to `folder`, to be filled and handed to `publish_folder`. Leftovers of a crash go."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    make_folder(beside)
    return beside


@contextmanager
def arriving(folder: Path) -> Iterator[Path]:
    """An empty folder to be filled with what several processes may fetch at once, all the same: the first that has all
    of it puts it in its place, where readers keep it."""
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    make_folder(beside)
    try:
        yield beside
        flush_below(beside)
        try:
            beside.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        flush(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def discard(path: Path) -> None:
    """Delete a file or a folder. A kill leaves it whole, or under a name that nobody reads."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        old = _aside(path)
        path.rename(old)
        flush(path.parent)
        shutil.rmtree(old)


def strays(root: Path) -> Iterator[Path]:
    """Files and folders under `root` that a killed process was writing, or had put aside."""
    for folder, names, files in os.walk(root):
        found = [name for name in (*names, *files) if name.startswith(".") and name.endswith(STRAY)]
        yield from (Path(folder, name) for name in found)
        names[:] = [name for name in names if name not in found]


def is_sqlite(file: Path) -> bool:
    """Whether a file is a database of sqlite, by its first bytes."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_SQLITE)) == _SQLITE


def flush_below(folder: Path) -> None:
    """fsync a folder and everything in it."""
    for path in sorted(folder.rglob("*")):
        flush(path)
    flush(folder)


def _aside(folder: Path) -> Path:
    """A name under which nobody reads, and nothing lies yet."""
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
