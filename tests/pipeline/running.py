"""Running whole nights through the command in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

MakeHome = Callable[[Path], Path]
CopyHome = Callable[[Path, Path], Path]
LAST, EARLIER = "2018-01-01", "2017-11-01"
HANGS = 4 * 3_600.0
"""Seconds after which whatever is waited for hangs. No measure of speed: a busy machine takes its time."""
PLE = [sys.executable, "-m", "pipeline.cli"]


def start(home: Path, delivery: Path, as_of: str | None = None) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("AS_OF", "DATASET", "DATASET_FILE")}
    environment |= {"PLE_HOME": str(home), "DATA_DIR": str(delivery), "OMP_NUM_THREADS": "1"}
    command = [*PLE, "nightly", *(["--as-of", as_of] if as_of else [])]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def night(home: Path, delivery: Path, as_of: str | None = None) -> str:
    process = start(home, delivery, as_of)
    output = process.communicate(timeout=HANGS)[0]
    assert process.returncode == 0, output
    return output


def score_file(home: Path, as_of: str) -> Path:
    """The published file of a date; a path where nothing lies if there is none."""
    folder = home / "lake" / "scores" / f"as_of={as_of}"
    return next(folder.glob("*.parquet"), folder / "part.parquet")


def set_aside(home: Path, as_of: str, table: str = "transactions") -> int:
    """Rows of a table that the night of a date put into quarantine."""
    return pl.read_parquet(home / "lake" / "quarantine" / table / f"as_of={as_of}" / "*.parquet").height
