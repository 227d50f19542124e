"""The trees of a training: grown once on the network's columns, kept in the workspace, with searched settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.training import model, trees
from ple_model.boosting.budget import TreeBudget
from ple_model.boosting.tuned import Trial, Tuned
from ple_model.config import ModelConfig
from ple_model.serving.blend import flat_matrix
from tests.pipeline.small_training import Material


def config_of(made: Material) -> ModelConfig:
    return model.model_config(made.settings, made.state, made.label_state, made.plan, made.columns)


def test_every_task_has_trees_that_are_grown_once(
    made: Material, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ple_model.boosting.fit.MIN_ROWS", 50)
    config = config_of(made)
    train, validation = (model.tensors(made.workspace, role, config) for role in ("train", "validation"))
    fitted = trees.grow(made.workspace, train, validation, config, made.settings, said.append)
    assert set(fitted) == {task.name for task in config.tasks}
    assert fitted["churn"].predict(flat_matrix(validation.inputs, config.inputs)).shape == (len(validation),)
    rate = made.workspace.labels().filter(pl.col("role") == "train")["churn"].mean()
    np.testing.assert_allclose(fitted["churn"].constants(3), [rate] * 3)
    assert any("LightGBM churn: 3 trees on 360 rows" in line for line in said)
    said.clear()
    assert trees.grow(made.workspace, train, validation, config, made.settings, said.append) == fitted
    assert not said


def test_the_flat_matrix_is_nan_where_a_value_is_missing(made: Material) -> None:
    file = made.workspace.snapshot(made.plan.train[0])
    name = made.state.present[2]
    hidden = pl.read_parquet(file).with_columns(
        pl.when(pl.col("customer_id") == "c003").then(None).otherwise(name).alias(name)
    )
    made.workspace.save_snapshot(made.plan.train[0], hidden)
    config = config_of(made)
    flat = flat_matrix(model.tensors(made.workspace, "train", config).inputs, config.inputs)
    assert np.argwhere(np.isnan(flat)).tolist() == [[3, 2]]


def test_lists_of_brands_are_padded_to_one_width() -> None:
    stacked = trees.stack_labels([np.array([[0, 1]]), np.array([[2], [3]])])
    assert stacked.tolist() == [[0, 1], [2, -1], [3, -1]]
    assert trees.stack_labels([np.array([1, 2]), np.array([3])]).tolist() == [1, 2, 3]


def test_searched_settings_are_read_where_the_data_set_has_some(
    made: Material, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trees, "FOLDER", tmp_path)
    assert trees.budget_of(made.settings.model_copy(update={"tuned_trees": True})) == made.settings.boosting
    found = Trial(
        number=0,
        columns="chosen",
        loss=0.1,
        rounds=2,
        trees_a_round=1,
        seconds=1.0,
        budget=TreeBudget(leaves=9),
    )
    tuned = Tuned(
        dataset="completejourney",
        as_of="2017-10-01",
        seed=0,
        train_rows=1,
        validation_rows=1,
        columns={"all": 6, "chosen": 6},
    )
    (tmp_path / "completejourney.yaml").write_text(tuned.with_trial("churn", found).text())
    on = made.settings.model_copy(update={"tuned_trees": True})
    assert trees.budget_of(on).tasks["churn"].leaves == 9
    assert trees.budget_of(made.settings) == made.settings.boosting


def test_searched_settings_of_the_repository_are_of_its_data_sets() -> None:
    """Every file in `data/trees/` names a data set of `data/` and holds trials on chosen columns."""
    import yaml

    for file in trees.FOLDER.glob("*.yaml"):
        tuned = Tuned.from_dict(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert tuned.dataset == file.stem
        assert (trees.FOLDER.parent / file.name).is_file()
        assert all(tuned.best(task, "chosen") is not None for task in tuned.tasks)
