"""A bundle of two halves: blended in one call, with the weight that validation rows gave, row by row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from ple_model.boosting.boosted import Boosted
from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask, fit_all
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.blend import HALVES, blend, flat_matrix, tree_predictions
from ple_model.serving.bundle import Bundle, load_bundle, save_bundle, save_refit
from ple_model.serving.format import BundleError
from ple_model.serving.inference import BLOCK, raw_outputs
from ple_model.serving.scorer import Scorer, inputs_from_frame
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable
from ple_model.training.finish import finish
from tests.ple_model import samples

Made = tuple[PLEClusterAdaTT, TensorTable, TensorTable, dict[str, Boosted]]
BLENDED = ("churn", "retention", "engagement", "ltv", "life_stage")


@pytest.fixture(scope="module")
def made() -> Made:
    """An untrained network beside trees that learnt something."""
    model, train, valid = samples.ready(600)
    features = np.concatenate([flat_matrix(table.inputs, model.config.inputs) for table in (train, valid)])
    is_train = np.arange(len(features)) < len(train)
    tasks = {}
    for task in model.config.tasks:
        parts = [table.targets.values[task.name].numpy() for table in (train, valid)]
        mask = np.concatenate([table.targets.mask[task.name].numpy() for table in (train, valid)])
        tasks[task.name] = BoostingTask(kind_of(task), np.concatenate(parts), mask, kind_of(task).width(task))
    small = TreeBudget(rounds=12, leaves=5, learning_rate=0.2)
    budget = BoostingBudget(single=small, multiclass=small, brand=small, brands=2)
    return model, train, valid, fit_all(BinnedMatrix(features, is_train, ~is_train), tasks, budget)


def written(made: Made, folder: Path, blended: bool = True) -> Bundle:
    model, train, valid, trees = made
    finish(model, train, valid, folder, samples.CLASSES, {}, trees=trees, blended=blended)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def folder(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blended") / "bundle"
    written(made, folder)
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.fixture
def two_fits(folder: Path, tmp_path: Path) -> Path:
    """The bundle beside other weights and the same tasks' trees, swapped."""
    model, trees = samples.ready(300)[0], load_bundle(folder).trees
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    swapped = trees | {"churn": trees["retention"], "retention": trees["churn"]}
    told = {"churn": {"trained_on": "9 labels"}}
    save_refit(tmp_path / "two", folder, model, swapped, {"scores": "by the refit"}, told)
    return tmp_path / "two"


def test_a_bundle_of_two_fits_scores_with_the_new_one_and_keeps_the_evaluated_one(
    two_fits: Path, bundle: Bundle, made: Made
) -> None:
    new, old = load_bundle(two_fits), load_bundle(two_fits, "evaluation")
    assert new.digest == old.digest != bundle.digest
    assert new.calibration == old.calibration == bundle.calibration
    assert new.trees["churn"] == old.trees["retention"] == bundle.trees["retention"]
    assert old.trees == bundle.trees
    assert new.meta["scores"] == "by the refit"
    assert new.described["churn"]["trained_on"] == "9 labels"
    found = {name: Scorer(b).predict(made[2].inputs).predictions for name, b in (("new", new), ("old", old))}
    for task, values in Scorer(bundle).predict(made[2].inputs).predictions.items():
        np.testing.assert_array_equal(found["old"][task], values)
        alone = bundle.calibration[task].weight == 0 and new.trees[task] == bundle.trees[task]
        assert np.array_equal(found["new"][task], values) is alone, task  # other weights count where they have a share
    assert sum(task.weight > 0 for task in bundle.calibration.values()) >= 3


@pytest.mark.parametrize(
    "name",
    [
        "weights.safetensors",
        "evaluation_fit/weights.safetensors",
        "evaluation_fit/calibration.json",
        "evaluation_fit/trees/churn.txt",
    ],
)
def test_the_digest_covers_both_fits(two_fits: Path, name: str) -> None:
    (two_fits / name).write_bytes((two_fits / name).read_bytes() + b" ")
    for fit in ("registered", "evaluation"):
        with pytest.raises(BundleError, match=f"{name} is not the file that was saved"):
            load_bundle(two_fits, fit)  # type: ignore[arg-type]


def test_a_bundle_of_one_fit_scores_with_what_was_evaluated(folder: Path, bundle: Bundle) -> None:
    assert load_bundle(folder, "evaluation").digest == bundle.digest


def test_a_refit_of_something_else_is_refused(two_fits: Path, folder: Path, made: Made, tmp_path: Path) -> None:
    trees = load_bundle(folder).trees
    with pytest.raises(BundleError, match="holds two fits already"):
        save_refit(tmp_path / "three", two_fits, made[0], trees, {})
    with pytest.raises(BundleError, match="trees of a refit and of the evaluated fit differ: churn"):
        save_refit(tmp_path / "three", folder, made[0], {k: v for k, v in trees.items() if k != "churn"}, {})
    other = samples.without_dropout(100)[0]
    with pytest.raises(BundleError, match="other settings or epochs"):
        save_refit(tmp_path / "three", folder, other, trees, {})


def test_trees_that_know_more_get_most_of_the_weight(bundle: Bundle) -> None:
    weights = {name: task.weight for name, task in bundle.calibration.items()}
    assert all(0 <= weights[name] < 0.5 for name in BLENDED), weights
    assert weights["brand_prediction"] == 1.0
    assert set(bundle.trees) == set(BLENDED)  # what has no share is not carried along


def test_a_prediction_is_the_convex_sum_of_its_calibrated_halves(made: Made, bundle: Bundle) -> None:
    inputs = made[2].inputs
    found = Scorer(bundle).predict(inputs)
    raw = raw_outputs(bundle.model, inputs)
    for task in bundle.model.config.tasks:
        kind, fitted = kind_of(task), bundle.calibration[task.name]
        assert fitted.halves is not None
        own = kind.in_range(fitted.halves.network.apply(raw.outputs[task.name]))
        np.testing.assert_array_equal(found.network[task.name], own)
        kept = ~found.fallback[task.name]
        if fitted.weight == 1:
            np.testing.assert_array_equal(found.predictions[task.name][kept], own[kept])
            continue
        trees = bundle.trees[task.name].predict(flat_matrix(inputs, bundle.model.config.inputs))
        alone = fitted.halves.trees.apply(kind.outputs_of(trees))
        first = fitted.halves.network.apply(raw.outputs[task.name])
        mixed = kind.outputs_of(fitted.weight * first + (1 - fitted.weight) * alone).astype(np.float32)
        expected = kind.in_range(fitted.calibrator.apply(mixed))
        np.testing.assert_allclose(found.predictions[task.name][kept], expected[kept], rtol=1e-12)


def test_halves_that_disagree_are_a_signal_of_uncertainty(made: Made, bundle: Bundle) -> None:
    inputs, tasks = made[2].inputs, bundle.model.config.tasks
    halves = {name: task.halves for name, task in bundle.calibration.items() if task.halves is not None}
    alone = raw_outputs(bundle.model, inputs)
    raw = blend(alone, halves, tree_predictions(bundle.trees, inputs, bundle.model.config.inputs), tasks)
    for name in BLENDED:
        assert set(raw.signals[name]) == {*alone.signals[name], HALVES}
        signal = raw.signals[name][HALVES]
        assert signal.shape == (len(inputs),)
        assert signal.min() >= 0
        assert signal.std() > 0
    assert raw.signals["churn"][HALVES].max() <= 1
    assert raw.signals["life_stage"][HALVES].max() <= 1
    assert raw.signals["brand_prediction"] == alone.signals["brand_prediction"]
    np.testing.assert_array_equal(raw.outputs["brand_prediction"], alone.outputs["brand_prediction"])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rows_scores_depend_on_that_row_alone(bundle: Bundle, seed: int) -> None:
    rows = BLOCK + 40
    frame, rng = samples.features(rows, seed=2), np.random.default_rng(seed)
    scores = Scorer(bundle).score(frame)
    order = rng.permutation(rows)
    for some in (order, order[:1], order[: int(rng.integers(2, rows))]):
        assert Scorer(bundle).score(frame[some]).equals(scores[some])
    assert Scorer(bundle).score(frame.clear()).schema == scores.schema


def test_switched_off_the_network_is_alone_and_its_trees_are_calibrated_beside_it(
    made: Made, bundle: Bundle, tmp_path: Path
) -> None:
    off = written(made, tmp_path / "off", blended=False)
    model, train, valid, _ = made
    finish(model, train, valid, tmp_path / "plain", samples.CLASSES, {})
    plain = load_bundle(tmp_path / "plain")
    assert off.trees == plain.trees == {}
    frame = samples.features(50, seed=3)
    assert Scorer(off).score(frame).equals(Scorer(plain).score(frame))
    assert not Scorer(off).score(frame)["churn"].equals(Scorer(bundle).score(frame)["churn"])
    for name in samples.TASKS:
        assert plain.calibration[name].halves is None
        halves, other = off.calibration[name].halves, bundle.calibration[name].halves
        assert halves is not None
        assert other is not None
        assert (halves.weight, halves.trees) == (1.0, other.trees)


def test_trees_that_are_a_constant_have_no_share(made: Made, tmp_path: Path) -> None:
    model, train, valid, trees = made
    constant = replace(trees["churn"], models=(), rounds=(), trees=0)
    found = written((model, train, valid, {**trees, "churn": constant}), tmp_path)
    assert found.calibration["churn"].weight == 1.0
    assert "churn" not in found.trees


def test_a_blend_is_said_in_words(folder: Path, bundle: Bundle) -> None:
    described = {task["name"]: task["predicted_by"] for task in json.loads((folder / "tasks.json").read_text())}
    assert described["brand_prediction"] == "network alone"
    weight = bundle.calibration["ltv"].weight
    expected = f"{weight:.0%} network, {1 - weight:.0%} boosted trees" if weight else "boosted trees alone"
    assert described["ltv"] == expected


def test_altered_or_missing_trees_are_refused(made: Made, folder: Path, tmp_path: Path) -> None:
    model, train, valid, trees = made
    digest = finish(model, train, valid, tmp_path / "b", samples.CLASSES, {}, trees=trees)
    assert digest == load_bundle(folder).digest
    file = tmp_path / "b" / "trees" / "churn.txt"
    text = file.read_bytes()
    file.write_bytes(text.replace(b"num_leaves=5", b"num_leaves=4", 1))
    with pytest.raises(BundleError, match=r"trees/churn\.txt is not the file that was saved"):
        load_bundle(tmp_path / "b")
    file.unlink()
    with pytest.raises(BundleError, match=r"lacks trees/churn\.txt"):
        load_bundle(tmp_path / "b")
    calibration = load_bundle(folder).calibration
    with pytest.raises(BundleError, match=r"task \w+ is blended with trees \(.*\) that are not there"):
        save_bundle(tmp_path / "c", model, calibration, samples.CLASSES, {})
    other = {**trees, "churn": replace(trees["churn"], features=3)}
    with pytest.raises(BundleError, match="the trees of churn read 3 columns, the inputs have 22"):
        save_bundle(tmp_path / "c", model, calibration, samples.CLASSES, {}, trees=other)


def test_the_matrix_of_the_trees_is_that_of_the_network(made: Made) -> None:
    frame = samples.features(20, seed=4)
    config = made[0].config.inputs
    flat = flat_matrix(inputs_from_frame(frame, config), config)
    given = frame.select(pl.col(samples.COLUMNS[i]).fill_null(np.nan) for i in samples.PRESENT).to_numpy()
    np.testing.assert_array_equal(flat, given)


def test_values_beyond_the_bounds_are_moved_to_them() -> None:
    frame, config = samples.features(60, seed=5), samples.config().inputs
    bounded = config.model_copy(update={"bounds": ((-0.5, 0.5),) * len(samples.PRESENT)})
    present = list(samples.PRESENT)
    free, held = (inputs_from_frame(frame, c) for c in (config, bounded))
    np.testing.assert_array_equal(held.features_mask, free.features_mask)
    values, given = free.features[:, present].numpy(), free.features_mask[:, present].numpy()
    np.testing.assert_array_equal(held.features[:, present].numpy()[given], np.clip(values, -0.5, 0.5)[given])
