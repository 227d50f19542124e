"""The comparison of two checkouts finds every kind of difference, and keeps results by the code that made them."""

from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from comparison.checkouts import Checkout
from comparison.frames import folders, frames
from comparison.nights import TOLERANCE, training_metrics

FRAME = pl.DataFrame(
    {
        "customer_id": ["a", "b", "c"],
        "day": [date(2024, 1, 1), None, date(2024, 1, 3)],
        "value": [1.0, None, float("nan")],
        "count": [1, 2, 3],
        "side": [[1.0, 2.0], None, [float("nan"), 4.0]],
    }
)


def reasons(new: pl.DataFrame, tolerance: float = 0.0) -> dict[str, str]:
    """Column → how it differs from `FRAME`."""
    return {found.where: found.reason for found in frames("x", FRAME, new, tolerance)}


def test_equal_frames_do_not_differ() -> None:
    assert reasons(FRAME.clone()) == {}


@pytest.mark.parametrize(
    ("change", "where", "word"),
    [
        (pl.col("count") + pl.Series([0, 0, 1]), "x.count", "1 of 3 rows: row 2 (customer_id c): 3, now 4"),
        (pl.col("count").cast(pl.Int32), "x.count", "type Int64, now Int32"),
        (pl.col("value").fill_null(0.0), "x.value", "row 1 (customer_id b): None, now 0.0"),
        (pl.col("value").fill_nan(None), "x.value", "row 2 (customer_id c): nan, now None"),
        (pl.col("value") + pl.Series([1e-15, 0.0, 0.0]), "x.value", "row 0"),
        (pl.col("side").list.eval(pl.element() * 2), "x.side", "2 of 3 rows"),
        (pl.col("side").list.reverse(), "x.side", "2 of 3 rows"),
        (pl.col("day").shift(1), "x.day", "3 of 3 rows"),
    ],
)
def test_a_changed_column_is_named_with_its_first_rows(change: pl.Expr, where: str, word: str) -> None:
    found = reasons(FRAME.with_columns(change))
    assert list(found) == [where]
    assert word in found[where]


def test_columns_and_rows_that_are_missing_added_or_moved() -> None:
    assert reasons(FRAME.drop("day")) == {"x.day": "only in old"}
    assert reasons(FRAME.with_columns(more=1)) == {"x.more": "only in new"}
    assert reasons(FRAME.select(reversed(FRAME.columns))) == {"x": "the columns stand in another order"}
    assert reasons(FRAME.head(2)) == {"x": "3 rows, now 2"}
    assert set(reasons(FRAME.reverse())) == {f"x.{name}" for name in FRAME.columns}


def test_a_tolerance_is_relative_above_one_and_absolute_below() -> None:
    old = pl.DataFrame({"step": [0, 1], "loss": [25.0, 0.01]})
    for shift, differs in (([2e-5, 5e-7], False), ([2e-5, 2e-6], True), ([4e-5, 0.0], True)):
        found = frames("x", old, old.with_columns(pl.col("loss") + pl.Series(shift)), TOLERANCE)
        assert bool(found) is differs, shift
    assert found[0].largest == pytest.approx(4e-5)


def test_files_that_only_one_folder_has(tmp_path: Path) -> None:
    for side in ("old", "new"):
        (tmp_path / side).mkdir()
        FRAME.write_parquet(tmp_path / side / "both.parquet")
    FRAME.write_parquet(tmp_path / "new" / "more.parquet")
    found = folders("labels", tmp_path / "old", tmp_path / "new")
    assert [(d.where, d.reason) for d in found.differences] == [("more.parquet", "only in new")]
    assert (found.columns, found.rows) == (5, 3)


def test_metrics_of_a_training_come_from_the_tracking_store(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    rows = [
        ("run", "train_loss/churn", 1, 0.5),
        ("run", "train_loss/churn", 0, 0.7),
        ("run", "epoch/rows_per_second", 0, 900.0),
        ("other", "train_loss/churn", 0, 9.0),
    ]
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE metrics (run_uuid TEXT, key TEXT, step INTEGER, value REAL)")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?)", rows)
    expected = pl.DataFrame({"step": [0, 1], "train_loss/churn": [0.7, 0.5]})
    assert training_metrics(database, "run").equals(expected)


def test_results_are_kept_until_the_code_changes(tmp_path: Path) -> None:
    code = tmp_path / "checkout" / "feature_assets" / "some.py"
    code.parent.mkdir(parents=True)
    code.write_text("VALUE = 1")
    kept = Checkout(tmp_path / "checkout", tmp_path / "work").kept("labels", ("feature_assets",))
    (kept / "done").touch()
    again = Checkout(tmp_path / "checkout", tmp_path / "work").kept("labels", ("feature_assets",))
    assert (again / "done").exists()
    code.write_text("VALUE = 2")
    other = Checkout(tmp_path / "checkout", tmp_path / "work").kept("labels", ("feature_assets",))
    assert not (other / "done").exists()
    assert not kept.exists()
