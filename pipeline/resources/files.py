"""Atomic writes: a reader sees the old file or folder or the new one, never a part of it.

Everything that the pipeline writes goes through here; a file's write itself is `ple_model.serving.files.publishing`.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from ple_model.serving.files import publish, publishing


def publish_bytes(content: bytes, file: Path) -> None:
    """Write beside, flush to the disk, rename. Creates the folder of the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    publish(file, content)


def publish_frame(frame: pl.DataFrame, file: Path) -> None:
    """A frame as Parquet."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with publishing(file) as beside:
        frame.write_parquet(beside, compression="zstd", statistics=True)


def publish_json(content: Any, file: Path) -> None:
    """A JSON document."""
    publish_bytes(json.dumps(content, indent=1).encode(), file)


def publish_folder(beside: Path, folder: Path) -> None:
    """Put a finished folder in its place: flush what it holds, then rename; an older folder steps aside first."""
    for path in sorted(beside.rglob("*")):
        _flush(path)
    _flush(beside)
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def empty_beside(folder: Path) -> Path:
    """An empty folder next to `folder`, to be filled and handed to `publish_folder`. Leftovers of a crash go."""
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    return beside


def _flush(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
