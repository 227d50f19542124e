"""The baselines: the matrix that LightGBM reads, labels of several tables, past brands."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from feature_assets.data.tables import Tables
from pipeline.training import baselines, model
from ple_model.tasks import KINDS
from tests.pipeline.small_training import Material


def test_every_task_gets_a_constant_and_a_boosted_prediction(made: Material, said: list[str]) -> None:
    config = model.model_config(made.settings, made.state, made.label_state, made.plan)
    train, validation, test = (model.tensors(made.workspace, role, config) for role in ("train", "validation", "test"))
    predictions, notes = baselines.fit(train, validation, test, config, made.settings, said.append)
    assert set(predictions) == set(notes) == {task.name for task in config.tasks}
    churn = predictions["churn"]
    rate = made.workspace.labels().filter(pl.col("role") == "train")["churn"].mean()
    np.testing.assert_allclose(churn[baselines.CONSTANT], rate)
    assert churn[baselines.BOOSTING].shape == (len(test),)
    assert predictions["channel"][baselines.CONSTANT].shape == (len(test), 3)
    assert any("LightGBM churn" in line for line in said)


def test_the_flat_matrix_is_nan_where_a_value_is_missing(made: Material) -> None:
    config = model.model_config(made.settings, made.state, made.label_state, made.plan)
    file = made.workspace.snapshot(made.plan.train[0])
    name = made.state.present[2]
    hidden = pl.read_parquet(file).with_columns(
        pl.when(pl.col("customer_id") == "c003").then(None).otherwise(name).alias(name)
    )
    made.workspace.save_snapshot(made.plan.train[0], hidden)
    table = model.tensors(made.workspace, "train", config)
    flat = baselines.flat_matrix(table, np.asarray(config.inputs.present))
    assert np.argwhere(np.isnan(flat)).tolist() == [[3, 2]]


def test_lists_of_brands_are_padded_to_one_width() -> None:
    stacked = baselines.stack_labels([np.array([[0, 1]]), np.array([[2], [3]])])
    assert stacked.tolist() == [[0, 1], [2, -1], [3, -1]]
    assert baselines.stack_labels([np.array([1, 2]), np.array([3])]).tolist() == [1, 2, 3]


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
