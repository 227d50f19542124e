"""Where a text stands in a home: in any file, each kind of file looked into in its own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from pipeline.home.folder import Home


def traces(home: Home, who: str) -> list[str]:
    """The files of a home that hold a text: in their raw bytes, in Parquet's values, in arrays."""
    files = [path for path in home.root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path.relative_to(home.root).as_posix() for path in files if _holds(path, who))


def _holds(file: Path, who: str) -> bool:
    if who.encode() in file.read_bytes():
        return True
    if file.suffix == ".parquet":
        frame = pl.read_parquet(file, hive_partitioning=False)
        told = [name for name, dtype in frame.schema.items() if any(kind in str(dtype) for kind in ("String", "Int"))]
        return any(who in str(frame[name].to_list()) for name in told)
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return any(who in str(arrays[name].tolist()) for name in arrays.files if arrays[name].dtype.kind in "USi")
    return False
