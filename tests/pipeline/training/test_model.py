"""The network of a training: configured from the state, trained, calibrated, written as a bundle."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.group import GroupState
from feature_assets.state import FeatureState
from pipeline.training import model
from tests.pipeline.small_training import CLASSES, CUSTOMERS, WINDOWS, Material


def test_inputs_are_what_the_state_has(made: Material) -> None:
    inputs = model.input_config(made.state, made.columns)
    assert [inputs.columns[i] for i in inputs.present] == made.state.present
    assert inputs.sides == ()
    assert model.model_columns(inputs) == ["customer_id", *made.state.present, "cluster_probs"]


def test_a_side_input_comes_with_the_channels_that_the_data_set_has(made: Material) -> None:
    from feature_assets import registry

    channels = next(side for side in registry.registry()["txn_seq"].side_inputs if side.name == "txn_seq").channels
    some = GroupState(meta={"channels_present": list(channels[:2])})
    state = FeatureState({**made.state.groups, "txn_seq": some}, made.state.present)
    side = next(side for side in model.side_inputs_of(state) if side.name == "txn_seq")
    assert side.channels == (0, 1)
    assert side.masked


def test_the_network_reads_the_states_that_were_fitted(made: Material) -> None:
    """Of all states the same as without any list: nothing changes where customers are many."""
    from feature_assets.groups.model_derived.hmm.bridge import MEASURES

    def channels(meta: dict[str, list[str]]) -> dict[str, tuple[int, ...] | None]:
        state = FeatureState({**made.state.groups, "hmm_summary": GroupState(meta=meta)}, made.state.present)
        return {side.name: side.channels for side in model.side_inputs_of(state)}

    rest = tuple(range(6, 16))
    five = {"hmm_journey": (*range(5), *rest), "hmm_lifecycle": (*range(5), *rest)}
    assert channels({"channels_present": list(MEASURES)}) == channels({}) == {**five, "hmm_behavior": None}
    two = channels({"channels_present": [*MEASURES[:2], *MEASURES[6:]]})
    assert two == dict.fromkeys(("hmm_journey", "hmm_lifecycle", "hmm_behavior"), (0, 1, *rest))


def test_tasks_are_those_of_the_plan_with_the_classes_of_the_data_set(made: Material) -> None:
    config = model.model_config(made.settings, made.state, made.label_state, made.plan, made.columns)
    tasks = {task.name: task for task in config.tasks}
    assert set(tasks) == set(WINDOWS)
    assert tasks["channel"].out == 3
    assert tasks["brand_prediction"].candidates == 3


def test_the_history_names_candidates_by_name_whatever_the_order_of_both(made: Material) -> None:
    from ple_model.config import ModelConfig

    def config(*brands: str) -> ModelConfig:
        group = GroupState(meta={"brands": list(brands)})
        state = FeatureState({**made.state.groups, "brand_history": group}, made.state.present)
        return model.model_config(made.settings, state, made.label_state, made.plan, made.columns)

    names = made.label_state.classes["brand_prediction"]
    assert len(names) == 3
    for order in ((2, 0, 1), (1, 2, 0), (0, 1, 2)):
        brands = ["never a candidate", *(names[i] for i in order), "nor this"]
        task = config(*brands).task("brand_prediction")
        assert task.history == (-1, *order, -1)
        assert [names[i] for i in task.history if i >= 0] == [brand for brand in brands if brand in names]
    assert config(names[1]).task("brand_prediction").history == (1,)
    assert config("none of them").task("brand_prediction").history == ()
    assert [side.name for side in config(*names).inputs.sides] == ["brand_history"]
    made_without = model.model_config(made.settings, made.state, made.label_state, made.plan, made.columns)
    assert made_without.task("brand_prediction").history == ()


def test_each_class_has_the_columns_that_measure_it(made: Material) -> None:
    from feature_assets import registry

    meta = {"categories": ["dairy", "pets"], "level": "category_l1", "others": ["toys"]}
    group = GroupState(arrays={"spend": np.ones(2)}, meta=meta)
    channels = {"channel_counts": GroupState(meta={"channels": made.label_state.classes["channel"][::-1]})}
    state = FeatureState({**made.state.groups, "departments": group, **channels}, made.state.present)
    known = [f"departments__{name}" for name in ("since_01", "stands_out_01", "since_02", "since_other_01")]
    positions = registry.positions()

    def columns(classes: list[str], read: list[str]) -> list[list[str]]:
        inputs = model.input_config(state, made.columns)
        chosen = inputs.model_copy(update={"present": tuple(sorted(positions[name] for name in read)), "bounds": ()})
        found = model.columns_of_classes(state, classes, chosen)
        return [[inputs.columns[i] if i >= 0 else "" for i in of_class] for of_class in found]

    assert columns(["toys", "dairy", "pets", "none"], known) == [
        ["departments__since_other_01", ""],
        ["departments__since_01", "departments__stands_out_01"],
        ["departments__since_02", ""],  # what stands out of number 2 is not read
        ["", ""],
    ]
    assert columns(["wine", "none"], known) == []
    assert columns(["dairy"], ["base__recency"]) == []


def test_tensors_hold_the_rows_of_a_role(made: Material) -> None:
    config = model.model_config(made.settings, made.state, made.label_state, made.plan, made.columns)
    table = model.tensors(made.workspace, "train", config)
    assert len(table) == 3 * CUSTOMERS
    matrix = pl.read_parquet(made.workspace.snapshot(made.plan.train[0]))
    first = table.inputs.features[:CUSTOMERS, list(config.inputs.present)].numpy()
    np.testing.assert_array_equal(first, matrix.select(made.state.present).to_numpy())
    labels = made.workspace.labels()["churn"][:CUSTOMERS].to_numpy()
    np.testing.assert_array_equal(table.targets.values["churn"][:CUSTOMERS].numpy(), labels)


def test_a_training_writes_a_bundle_that_scores_and_carries_its_state(
    trained: Material, dataset: DatasetConfig
) -> None:
    from pipeline.scores.table import score_matrix

    bundle = trained.workspace.bundle
    assert FeatureState.load(bundle / "state").version == trained.state.version
    assert json.loads((bundle / "schema.json").read_text())["present"] == trained.state.present
    assert json.loads((bundle / "dataset.json").read_text())["name"] == dataset.name
    described = {task["name"]: task for task in json.loads((bundle / "tasks.json").read_text())}
    assert described["channel"]["classes"] == CLASSES["channel"]
    matrix = pl.read_parquet(trained.workspace.snapshot(trained.plan.holdout[0]))
    scores = score_matrix(matrix, bundle)
    assert scores.height == CUSTOMERS
    assert scores["churn"].is_between(0, 1).all()
    assert set(scores["channel"]) <= set(CLASSES["channel"])


def test_a_task_that_is_off_is_no_part_of_the_bundle_and_of_the_scores(made: Material, dataset: DatasetConfig) -> None:
    from pipeline.scores.table import score_matrix

    off, work = {"channel": "one class"}, made.workspace
    brands = {"brand_prediction": {"a": "a", "b": "b", "c": "c"}}
    work.save_label_state(made.label_state.model_copy(update={"off": off, "merged": brands}))
    work.save_labels(work.labels().drop("channel"))
    model.train(work, made.plan.without(off), dataset, made.settings, lambda _: None, lambda _: None)
    told = {task["name"]: task for task in json.loads((work.bundle / "tasks.json").read_text())}
    assert list(told) == [name for name in WINDOWS if name != "channel"]
    merged = [name for name, task in told.items() if task["meaning"].endswith("are merged.")]
    assert merged == ["brand_prediction"], "what the label state says of its classes is part of the meaning"
    assert json.loads((work.bundle / "labels.json").read_text())["off"] == off
    scores = score_matrix(pl.read_parquet(work.snapshot(made.plan.holdout[0])), work.bundle)
    assert "churn" in scores.columns
    assert not [name for name in scores.columns if name.startswith("channel")]


def test_a_training_that_was_interrupted_ends_with_the_same_bundle(made: Material, dataset: DatasetConfig) -> None:
    """The checkpoints of a finished fit are taken up: a second call repeats no epoch."""

    def digest() -> str:
        return str(json.loads((made.workspace.bundle / "model.json").read_text())["digest"])

    epochs: list[int] = []
    arguments = (made.workspace, made.plan, dataset, made.settings, lambda report: epochs.append(report.epoch))
    first, parts = model.train(*arguments, lambda _: None)
    assert len(epochs) == 2
    assert set(parts.gradients) == {"deepfm"}
    before = digest()
    again, _ = model.train(*arguments, lambda _: None)
    assert again.resumed_from is not None
    assert len(epochs) == 2
    assert [r.loss for r in again.history] == [r.loss for r in first.history]
    assert digest() == before
