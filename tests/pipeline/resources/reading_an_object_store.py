"""One reader of an object store while scores are published, by a library that knows nothing of this product.

    python reading_an_object_store.py LIBRARY URL DAY COLUMN STOP ROUNDS

It reads the pointer, then the object that the pointer names; a column has one value in all rows of a version. Reads
until the file STOP appears; the file ROUNDS grows by a byte a round. Prints the values in the order in which they were
seen, and what was no whole version.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Read = Callable[[str], tuple[int, Any, Any, str]]
"""URL of a version → rows, smallest and largest value of the column, the date."""


def by_polars(column: str) -> Read:
    import polars as pl

    def read(url: str) -> tuple[int, Any, Any, str]:
        frame = pl.scan_parquet(url, hive_partitioning=True, storage_options={"max_retries": 8})
        day = pl.col("as_of").cast(pl.String).max()
        columns = pl.len(), pl.col(column).min().alias("low"), pl.col(column).max().alias("high"), day
        return frame.select(columns).collect().row(0)

    return read


def by_duckdb(column: str) -> Read:
    import duckdb
    import fsspec

    connection = duckdb.connect()
    connection.register_filesystem(fsspec.filesystem("s3"))
    of_column = f"min({column}), max({column})"
    sql = f"SELECT count(*), {of_column}, max(as_of)::VARCHAR FROM read_parquet(?, hive_partitioning = true)"
    return lambda url: connection.execute(sql, [url]).fetchone()


def main(library: str, url: str, day: str, column: str, stop: Path, rounds: Path) -> None:
    """Read in turn until told to stop."""
    import fsspec

    files, read = fsspec.filesystem("s3"), {"polars": by_polars, "duckdb": by_duckdb}[library](column)
    seen: list[Any] = []
    wrong: list[str] = []
    rows_of: dict[str, int] = {}
    while not stop.exists():
        try:
            path = json.loads(files.cat_file(f"{url}/scores/as_of={day}.json", start=0, end=2**20))["path"]
            rows, low, high, date = read(f"{url}/{path}")
        except Exception as error:  # nothing is published yet, or the server was away for a moment
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            time.sleep(0.05)
            continue
        if (rows_of.setdefault(path, rows), low, day) != (rows, high, date):
            wrong.append(f"{path}: {rows} rows of {date}, {low} to {high}")
        seen += [] if seen and seen[-1] == high else [high]
        with rounds.open("ab") as file:
            file.write(b".")
    print(json.dumps({"seen": seen, "wrong": wrong, "rows": [*rows_of.values()]}))


if __name__ == "__main__":
    main(*sys.argv[1:5], Path(sys.argv[5]), Path(sys.argv[6]))
