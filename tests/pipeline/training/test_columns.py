"""The choice of columns: on training rows alone, without clocks, bounded to the range of training values."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets import registry
from pipeline.training import columns, model, training_set
from pipeline.training.columns import ColumnChoice
from ple_model.boosting.budget import TreeBudget
from tests.pipeline.small_training import WINDOWS, Material


def chosen(made: Material, **change: Any) -> ColumnChoice:
    """A choice anew."""
    (made.workspace.folder / "columns.json").unlink(missing_ok=True)
    settings = made.settings.model_copy(update={"columns": "chosen", **change})
    return columns.choose(made.workspace, made.plan, settings, lambda _: None)


def test_what_a_task_gains_from_is_read_and_the_table_says_why(made: Material) -> None:
    budget = made.settings.column_budget.model_copy(update={"per_task": 1})
    choice = chosen(made, column_budget=budget)
    first, second = made.state.present[:2]  # churn follows the first column, engagement the second
    assert {first, second} <= set(choice.read)
    table = {row["column"]: row for row in choice.table}
    assert list(table) == made.state.present
    assert (table[first]["best rank"], table[first]["wanted by"]) == (1, "churn")
    assert (table[second]["of task"], table[second]["read"]) == ("engagement", True)
    left = [row for row in choice.table if not row["read"]]
    assert left
    assert {row["left out because"] for row in left} == {"not among the 1 columns of most gain for any task"}
    assert choice.summary() == {"columns of the data set": 6, "columns read": len(choice.read)}


def test_what_measures_a_class_is_read_whatever_trees_gain_from_it(
    made: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = made.settings.column_budget.model_copy(update={"per_task": 1})
    left = [row["column"] for row in chosen(made, column_budget=budget).table if not row["read"]]
    measured = {"mailer": {"share": left[0]}, "a": {"share": left[1]}}  # a class of channel, and a brand: no class
    monkeypatch.setattr(columns, "measures_of", lambda _, classes: tuple(measured.get(name, {}) for name in classes))
    choice = chosen(made, column_budget=budget)
    assert left[0] in choice.read
    assert left[1] not in choice.read
    row = next(row for row in choice.table if row["column"] == left[0])
    assert (row["wanted by"], row["measures a class of"], row["left out because"]) == ("", "channel", "")


def test_no_validation_or_test_row_is_read(made: Material) -> None:
    clean = chosen(made)
    for day in made.plan.holdout:
        made.workspace.snapshot(day).unlink()
    labels = made.workspace.labels()
    spoilt = pl.when(pl.col("role") == "train").then(pl.col("churn")).otherwise(1 - pl.col("churn")).alias("churn")
    made.workspace.save_labels(labels.with_columns(spoilt))
    assert chosen(made) == clean


def test_every_setting_gives_other_columns(made: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    present = made.state.present
    budget = made.settings.column_budget.model_copy(update={"per_task": 1})
    monkeypatch.setattr(columns, "reference", lambda: tuple(present[:4]))
    assert chosen(made, columns="all").read == tuple(present)
    assert chosen(made, columns="reference").read == tuple(present[:4])
    assert 2 <= len(chosen(made, columns="chosen", column_budget=budget).read) < 6
    left = [row["left out because"] for row in chosen(made, columns="reference").table if not row["read"]]
    assert left == ["not among those of the design"] * 2


def test_rows_too_few_for_trees_leave_the_columns_of_the_design(
    made: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = made.state.present
    monkeypatch.setattr(columns, "reference", lambda: tuple(present[:4]))
    labels = made.workspace.labels()
    for rows, read in ((99, 4), (101, 6)):
        few = [pl.when(pl.int_range(pl.len()) < rows).then(pl.col(task)).alias(task) for task in WINDOWS]
        made.workspace.save_labels(labels.with_columns(few))
        said: list[str] = []
        (made.workspace.folder / "columns.json").unlink(missing_ok=True)
        settings = made.settings.model_copy(update={"columns": "chosen"})
        choice = columns.choose(made.workspace, made.plan, settings, said.append)
        assert len(choice.read) <= read
        assert any("those of the design are read" in line for line in said) is (rows == 99)
        assert (choice.read == tuple(present[:4])) is (rows == 99)


def test_a_choice_is_taken_up_and_repeats(made: Material) -> None:
    first = chosen(made)
    assert chosen(made) == first
    made.workspace.save_columns({**first.to_dict(), "read": ["a"]})
    assert columns.choose(made.workspace, made.plan, made.settings, lambda _: None).read == ("a",)


def test_a_column_that_tells_the_date_is_left_out(made: Material) -> None:
    clock = made.state.present[5]
    for day in made.plan.dates:
        frame = pl.read_parquet(made.workspace.snapshot(day))
        noise = pl.Series(np.random.default_rng(0).random(frame.height))
        made.workspace.save_snapshot(day, frame.with_columns((noise + day.toordinal()).cast(pl.Float32).alias(clock)))
    labels = made.workspace.labels()  # the newest date is the one with many churns: the clock would gain
    newest = pl.col("as_of") == made.plan.train[-1]
    made.workspace.save_labels(labels.with_columns(pl.when(newest).then(1).otherwise("churn").alias("churn")))
    choice = chosen(made)
    assert clock not in choice.read
    row = choice.table[5]
    assert row["left out because"] == "tells the date: 100% of its newest training values lie outside all earlier ones"
    assert (row["best rank"], row["wanted by"]) == (None, "")


def test_clocks_compare_the_newest_date_with_those_far_enough_before() -> None:
    days = np.repeat(np.arange("2017-01-01", "2017-03-12", 7, dtype="datetime64[D]"), 50)
    rng = np.random.default_rng(0)
    age = (days - days[0]).astype(float)
    x = np.stack([age, rng.normal(size=500), 7 * rng.normal(size=500) + age, np.full(500, np.nan)], axis=1)
    found = columns.clocks(x.astype(np.float32), days, timedelta(days=14))
    assert found[0] == 1.0
    assert found[1] < 0.1
    assert 0.0 < found[2] < 0.9
    assert found[3] == 0.0
    assert columns.clocks(x.astype(np.float32), days, timedelta(days=4_000))[0] == 1.0  # the first half of the dates
    assert columns.clocks(x[:50].astype(np.float32), days[:50], timedelta(days=14)).tolist() == [0, 0, 0, 0]


def test_values_beyond_the_training_range_are_read_as_its_ends(made: Material) -> None:
    choice = chosen(made, columns="all")
    config = model.model_config(made.settings, made.state, made.label_state, made.plan, choice)
    train = model.tensors(made.workspace, "train", config).inputs.features[:, list(config.inputs.present)].numpy()
    held = model.tensors(made.workspace, "test", config).inputs.features[:, list(config.inputs.present)].numpy()
    for i, name in enumerate(made.state.present):
        assert choice.bounds[name] == (train[:, i].min(), train[:, i].max())
        assert held[:, i].min() >= train[:, i].min()
        assert held[:, i].max() <= train[:, i].max()
    raw, _ = columns.rows_of_role(made.workspace, "test", made.state.present)
    assert (raw > train.max(axis=0)).any()
    plain, _ = columns.rows_of_role(made.workspace, "train", made.state.present)
    np.testing.assert_array_equal(train, plain)


def test_a_column_without_a_value_is_bounded_to_nothing_else(made: Material) -> None:
    name = made.state.present[4]
    for day in made.plan.train:
        frame = pl.read_parquet(made.workspace.snapshot(day))
        made.workspace.save_snapshot(day, frame.with_columns(pl.lit(None, pl.Float32).alias(name)))
    assert chosen(made, columns="all").bounds[name] == (0.0, 0.0)
    assert name not in chosen(made).read


def test_no_column_at_all_is_an_error(made: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "reference", tuple)
    none = TreeBudget(rounds=1, min_leaf_rows=10_000)
    trees = made.settings.column_budget.trees.model_copy(update={"single": none, "multiclass": none})
    with pytest.raises(ValueError, match="no column is left"):
        chosen(made, column_budget=made.settings.column_budget.model_copy(update={"trees": trees}))


def test_a_task_without_training_labels_has_no_say(made: Material) -> None:
    labels = made.workspace.labels().with_columns(pl.lit(None, pl.Int8).alias("churn"))
    made.workspace.save_labels(labels)
    rows = pl.concat([known for _, known in training_set.rows_of(made.workspace, "train", ["customer_id"])])
    assert set(columns.tasks_of(rows, made.plan, made.workspace)) == {"engagement", "channel", "brand_prediction"}


def test_the_reference_columns_are_those_of_the_design() -> None:
    names = registry.names()
    assert columns.reference() == tuple(names[i] for i in registry.reference())
    assert not any(name.startswith("periods__") for name in columns.reference())
    assert "raw_power_law__amount_28d" in columns.reference()
