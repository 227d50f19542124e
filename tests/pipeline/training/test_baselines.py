"""The baseline of brands: what the customer bought before."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from feature_assets.data.tables import Tables
from pipeline.training import baselines
from ple_model.tasks import KINDS


def test_past_brands_count_the_lines_of_the_last_days(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        date(2017, 9, 1): [("x", 10.0, "a"), ("x", 20.0, "a"), ("y", 5.0, "b"), ("y", 181.0, "b"), ("y", 1.0, "other")],
        date(2017, 8, 1): [("x", 3.0, "b")],
    }

    def view(_: Tables, day: date) -> Any:
        frame = pl.DataFrame(lines[day], schema=["customer", "days_ago", "brand"], orient="row")
        row = frame["customer"].replace_strict({"x": 0, "y": 1}, return_dtype=pl.UInt32)

        def events(table: str, columns: tuple[str, ...], longest: int) -> Any:
            assert (table, columns) == ("transactions", ("brand",))
            known = frame.with_columns(row.alias("row")).filter(pl.col("days_ago") <= longest)
            return SimpleNamespace(frame=lambda name: known.select("row", name))

        return SimpleNamespace(customers=pl.DataFrame({"customer_id": ["x", "y"]}), events=events)

    rows = pl.DataFrame(
        {"customer_id": ["y", "x", "x"], "as_of": [date(2017, 9, 1), date(2017, 8, 1), date(2017, 9, 1)]}
    )
    monkeypatch.setattr(baselines, "View", view)
    counts = baselines.past_brands(cast("Tables", object()), rows, ["a", "b"])
    assert counts.tolist() == [[0, 1], [0, 1], [2, 0]]
    shares = KINDS["contrastive"].own_past(counts, np.array([0.6, 0.4]))
    assert (shares.argmax(axis=1) == [0, 0, 0]).any()
    np.testing.assert_allclose(shares.sum(axis=1), [1.0, 1.0, 1.0])
