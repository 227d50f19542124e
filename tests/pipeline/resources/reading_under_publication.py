"""One reader while a table is published over and over: by the resolved version, the plain glob, the folder, in turn.

    python reading_under_publication.py LIBRARY LAKE STOP ROUNDS

Reads until the file STOP appears; the file ROUNDS grows by a byte a round. Prints the errors of each way, and the
results that are no version.
"""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.resources.publication import Published

DAY, ROWS = "2018-01-01", 50_000
Read = Callable[[str], tuple[int, int]]
"""A folder or a glob of files → (rows, distinct nights)."""


def by_polars(path: str) -> tuple[int, int]:
    import polars as pl

    nights = pl.scan_parquet(path).select("night").collect()["night"]
    return len(nights), nights.n_unique()


def by_pandas(path: str) -> tuple[int, int]:
    import pandas as pd

    nights = pd.read_parquet(glob.glob(path) if "*" in path else path)["night"]
    return len(nights), nights.nunique()


def by_pyarrow(path: str) -> tuple[int, int]:
    import pyarrow.dataset as ds

    source = glob.glob(path) if "*" in path else path
    nights = ds.dataset(source, partitioning="hive").to_table(columns=["night"])["night"]
    return len(nights), len(nights.unique())


def by_duckdb(path: str) -> tuple[int, int]:
    import duckdb

    files = path if "*" in path else f"{path}/*/*.parquet"
    row = duckdb.execute("SELECT count(*), count(DISTINCT night) FROM read_parquet(?)", [files]).fetchone()
    return row[0], row[1]


READERS: dict[str, Read] = {"polars": by_polars, "pandas": by_pandas, "pyarrow": by_pyarrow, "duckdb": by_duckdb}


def main(library: str, lake: Path, stop: Path, rounds: Path) -> None:
    """Read in turn until told to stop."""
    read, published = READERS[library], Published(lake, "scores")
    told: dict[str, list[str]] = {"version": [], "glob": [], "folder": [], "mixed": []}
    while not stop.exists():
        pointer = published.pointer(DAY)
        paths = {"version": published.resolve(DAY), "glob": pointer / "*.parquet", "folder": pointer.parent}
        for way, path in paths.items():
            try:
                found = read(str(path))
            except BaseException as error:  # a panic of polars as well; the test looks at what it says
                told[way].append(f"{type(error).__name__}: {error}"[:300])
            else:
                if found != (ROWS, 1):
                    told["mixed"].append(f"{path}: {found}")
        with rounds.open("ab") as file:
            file.write(b".")
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
