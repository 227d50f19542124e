"""A whole night of a checkout: its losses and weights by epoch, and its scores."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import polars as pl

from comparison.checkouts import DONE, PACKAGES, Checkout, run
from comparison.frames import Compared, frames

TOLERANCE = 1e-6
TRAINING = ("train_loss/", "valid_loss/", "skill/", "weight/", "epoch/loss", "epoch/score", "epoch/learning_rate")
"""Metrics of a training that must not change; the others are rates and shares of time."""
NOT_COMPARED = ("run_id", "as_of")
"""Columns of the scores that name a run; and the date, which some releases wrote into the file."""


def compare(old: Checkout, new: Checkout, dataset: str, customers: int) -> list[Compared]:
    """Losses by epoch and scores of one night of each checkout."""
    one, other = (_night(side, dataset, customers) for side in (old, new))
    results = []
    for part in ("training", "scores"):
        frame, now = pl.read_parquet(one / f"{part}.parquet"), pl.read_parquet(other / f"{part}.parquet")
        differences = tuple(frames(part, frame, now, TOLERANCE))
        results.append(Compared(f"{dataset}: night, {part}", frame.width, frame.height, differences))
    return results


def _night(side: Checkout, dataset: str, customers: int) -> Path:
    """The folder with `training.parquet` and `scores.parquet` of a night, run now or kept. A night that was killed is
    taken up by the checkout's own means; its home stays in the folder."""
    name = f"night-{dataset}-{customers}" if dataset == "bank_simulation" else f"night-{dataset}"
    with side.locked():
        folder = side.kept(name, PACKAGES)
        if (folder / DONE).exists():
            return folder
        home = folder / "home"
        if not _score_files(home):
            print(f"{side.root} ({side.commit}): a night of {dataset}", file=sys.stderr, flush=True)
            mine = {"PLE_HOME": str(home), "DATASET": dataset, "CUSTOMERS": str(customers)}
            environment = {k: v for k, v in side.environment().items() if k not in ("AS_OF", "DATA_DIR")}
            environment["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
            run([sys.executable, "-P", "-m", "pipeline.cli", "nightly"], environment | mine, cwd=folder)
        scores = pl.read_parquet(_score_files(home), hive_partitioning=False)
        training_metrics(home / "mlflow" / "mlflow.db", scores["run_id"][0]).write_parquet(folder / "training.parquet")
        scores.drop(NOT_COMPARED, strict=False).write_parquet(folder / "scores.parquet")
        (folder / DONE).touch()
        return folder


def _score_files(home: Path) -> list[Path]:
    return sorted((home / "lake" / "scores").glob("as_of=*/*.parquet"))


def training_metrics(database: Path, run_id: str) -> pl.DataFrame:
    """`step` and one column a metric of the training, from MLflow's database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT step, key, value FROM metrics WHERE run_uuid = ?", (run_id,)).fetchall()
    kept = [row for row in rows if row[1].startswith(TRAINING)]
    long = pl.DataFrame(kept, schema={"step": pl.Int64, "key": pl.String, "value": pl.Float64}, orient="row")
    wide = long.pivot("key", index="step", values="value", aggregate_function="first", sort_columns=True)
    return wide.sort("step").select("step", *sorted(c for c in wide.columns if c != "step"))
