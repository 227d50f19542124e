"""Attributions of a blend: they add up, in the unit of the task, and name what the data were made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from ple_model.boosting.boosted import Boosted
from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask, fit_all
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.inputs import Inputs
from ple_model.interpretation.attribution import Attribution, attribute, slopes, tree_contributions
from ple_model.interpretation.sources import Sources
from ple_model.serving.blend import blend, flat_matrix, tree_predictions
from ple_model.serving.bundle import Bundle, load_bundle
from ple_model.serving.inference import raw_outputs
from ple_model.serving.scorer import Scorer
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable
from ple_model.training.finish import finish
from tests.ple_model import samples

BLENDED = ("churn", "retention", "engagement", "ltv", "life_stage")
ROWS = 6


def _trees(train: TensorTable, valid: TensorTable) -> dict[str, Boosted]:
    config = samples.config()
    features = np.concatenate([flat_matrix(table.inputs, config.inputs) for table in (train, valid)])
    is_train = np.arange(len(features)) < len(train)
    tasks = {}
    for task in config.tasks:
        labels = np.concatenate([table.targets.values[task.name].numpy() for table in (train, valid)])
        mask = np.concatenate([table.targets.mask[task.name].numpy() for table in (train, valid)])
        tasks[task.name] = BoostingTask(kind_of(task), labels, mask, kind_of(task).width(task))
    small = TreeBudget(rounds=15, leaves=5, learning_rate=0.2)
    budget = BoostingBudget(single=small, multiclass=small, brand=small, brands=2)
    return fit_all(BinnedMatrix(features, is_train, ~is_train), tasks, budget)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An untrained network beside trees that learnt something; the network keeps some of the weight."""
    folder = tmp_path_factory.mktemp("attribution")
    model, train, valid = samples.ready(600)
    finish(model, train, valid, folder / "bundle", samples.CLASSES, {}, trees=_trees(train, valid))
    return load_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def rows() -> tuple[Inputs, Inputs]:
    table = samples.table(60, seed=5)
    return table.inputs.index(torch.arange(ROWS)), table.inputs.index(torch.arange(20, 24))


@pytest.fixture(scope="module")
def found(bundle: Bundle, rows: tuple[Inputs, Inputs]) -> dict[str, Attribution]:
    return attribute(bundle, *rows)


def test_they_add_up_to_the_prediction_in_its_unit(
    bundle: Bundle, rows: tuple[Inputs, Inputs], found: dict[str, Attribution]
) -> None:
    predicted = Scorer(bundle).predict(rows[0])
    sources = Sources.of(bundle.model.config.inputs)
    for task in bundle.model.config.tasks:
        own, kind = found[task.name], kind_of(task)
        assert own.contributions.shape == own.errors.shape == (ROWS, len(sources))
        np.testing.assert_allclose(own.base + own.contributions.sum(axis=1) + own.unexplained, own.explained)
        final = predicted.predictions[task.name]
        kept = ~predicted.fallback[task.name]
        places = kind.chosen(task, final, samples.CLASSES.get(task.name, ()))
        np.testing.assert_allclose(own.explained[kept], kind.explained(final, places)[kept], rtol=1e-5, atol=1e-5)
        assert own.unit == kind.explained_in
        if places is None:
            assert own.chosen == ()
        else:
            names = samples.CLASSES[task.name]
            assert [own.chosen[i] for i in np.flatnonzero(kept)] == [names[places[i]] for i in np.flatnonzero(kept)]


def test_of_the_network_alone_nothing_is_left_unexplained(found: dict[str, Attribution], bundle: Bundle) -> None:
    assert bundle.calibration["brand_prediction"].weight == 1
    assert np.abs(found["brand_prediction"].unexplained).max() < 1e-5
    for name in ("engagement", "ltv"):  # affine in both halves, and nothing here is clipped
        assert 0 <= bundle.calibration[name].weight < 1
        assert np.abs(found[name].unexplained).max() < 0.1 * np.ptp(found[name].explained), name


def test_a_blend_has_w_of_the_networks_and_the_rest_of_the_trees(
    bundle: Bundle, rows: tuple[Inputs, Inputs], found: dict[str, Attribution]
) -> None:
    alone = dict(bundle.calibration)
    for name in BLENDED:
        halves = alone[name].halves
        assert halves is not None
        alone[name] = replace(alone[name], halves=replace(halves, weight=1.0), calibrator=halves.network)
    networks = attribute(replace(bundle, calibration=alone, trees={}), *rows)
    features = flat_matrix(rows[0], bundle.model.config.inputs)
    for task in bundle.model.config.tasks:
        if task.name not in BLENDED:
            continue
        own, network, kind = found[task.name], networks[task.name], kind_of(task)
        weight, halves = bundle.calibration[task.name].weight, bundle.calibration[task.name].halves
        assert halves is not None
        final = bundle.calibration[task.name].calibrator.apply(_mixed(bundle, rows[0], task.name))
        places = kind.chosen(task, final, samples.CLASSES.get(task.name, ()))
        trees = tree_contributions(bundle, task, features, places)
        of_trees = kind.explained(
            halves.trees.apply(kind.outputs_of(bundle.trees[task.name].predict(features))), places
        )
        np.testing.assert_allclose(trees.sum(axis=1), of_trees, atol=0.02)
        if places is not None and network.chosen != own.chosen:
            continue  # the network alone would choose another class
        np.testing.assert_allclose(np.abs(network.unexplained).max(), 0.0, atol=1e-4)
        want = weight * network.contributions
        want[:, : features.shape[1]] += (1 - weight) * trees[:, :-1]
        np.testing.assert_allclose(own.contributions, want, atol=1e-6)
        np.testing.assert_allclose(own.base, weight * network.base + (1 - weight) * trees[:, -1], atol=1e-6)


def _mixed(bundle: Bundle, inputs: Inputs, task: str) -> np.ndarray:
    halves = {name: fitted.halves for name, fitted in bundle.calibration.items() if fitted.halves is not None}
    trees = tree_predictions(bundle.trees, inputs, bundle.model.config.inputs)
    return blend(raw_outputs(bundle.model, inputs), halves, trees, bundle.model.config.tasks).outputs[task]


def test_planted_columns_lead(bundle: Bundle) -> None:
    names = np.array(Sources.of(bundle.model.config.inputs).names)
    table = samples.table(60, seed=5)
    many = attribute(bundle, table.inputs.index(torch.arange(24)), table.inputs.index(torch.arange(40, 42)))
    planted = {"churn": {0, 1}, "retention": {2}, "engagement": {4, 5}, "ltv": {6}, "life_stage": {7}}
    for task, columns in planted.items():
        order = np.argsort(-np.abs(many[task].contributions).mean(axis=0))
        assert set(names[order[: len(columns)]]) == {samples.COLUMNS[i] for i in columns}, task


def test_the_seed_and_the_background_decide(bundle: Bundle, rows: tuple[Inputs, Inputs]) -> None:
    one, few = rows[0].index(torch.arange(1)), rows[1].index(torch.arange(2))
    first, again, other = (attribute(bundle, one, few, seed=seed)["brand_prediction"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.contributions, again.contributions)
    assert not np.array_equal(first.contributions, other.contributions)
    np.testing.assert_allclose(first.base, other.base)
    apart = attribute(bundle, one, rows[1].index(torch.arange(2, 4)), seed=3)["brand_prediction"]
    assert apart.base[0] != first.base[0]
    np.testing.assert_array_equal(apart.explained, first.explained)


def test_slopes_carry_logits_to_a_log_probability() -> None:
    start, end = np.array([0.3, -1.0, 2.0]), np.array([-2.0, 4.0, 1.0])

    def function(z: np.ndarray) -> np.ndarray:
        return log_softmax(2.0 * z + np.array([0.1, 0.0, -0.4]), axis=1)[:, 1]

    found = slopes(function, start, end)
    assert found @ (end - start) == pytest.approx(function(end[None])[0] - function(start[None])[0], abs=0.01)
    assert found[1] > 0 > found[0]
    assert found[2] < 0
    # of a linear function the slopes are its weights
    np.testing.assert_allclose(
        slopes(lambda z: z @ np.array([1.0, -2.0, 3.0]), start, end), [1.0, -2.0, 3.0], rtol=1e-6
    )
    clipped = slopes(lambda z: np.clip(z[:, 0], None, 1.0), np.array([0.0]), np.array([4.0]))
    assert clipped[0] == 0.25
