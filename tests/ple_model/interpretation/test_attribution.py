"""Attributions of a blend: they add up, in the unit of the task, and name what the data were made from."""

from __future__ import annotations

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
from ple_model.serving.blend import flat_matrix
from ple_model.serving.bundle import Bundle, load_bundle
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
    return table.inputs.index(torch.arange(ROWS)), table.inputs.index(torch.arange(20, 28))


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
        places = kind.chosen(final)
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
    for name in BLENDED:
        assert 0 <= bundle.calibration[name].weight < 1
        spread = found[name].explained.std() + 1e-9
        assert np.abs(found[name].unexplained).max() < 0.5 * np.abs(found[name].contributions).sum(1).max() + spread


def test_the_trees_have_their_share_of_the_weight(
    bundle: Bundle, rows: tuple[Inputs, Inputs], found: dict[str, Attribution]
) -> None:
    """Without the trees' part, what is left of a blend is w times the network's own values."""
    features = flat_matrix(rows[0], bundle.model.config.inputs)
    task = bundle.model.config.task("churn")
    weight = bundle.calibration["churn"].weight
    trees = tree_contributions(bundle, task, features, None)
    raw = bundle.trees["churn"].predict(features)
    halves = bundle.calibration["churn"].halves
    assert halves is not None
    kind = kind_of(task)
    own = kind.explained(halves.trees.apply(kind.outputs_of(raw)), None)
    np.testing.assert_allclose(trees.sum(axis=1), own, atol=1e-6)
    left = found["churn"].contributions[:, : features.shape[1]] - (1 - weight) * trees[:, :-1]
    sides = found["churn"].contributions[:, features.shape[1] :]
    assert np.abs(left).max() <= weight * 10
    assert np.abs(sides).sum() > 0 or weight == 0


def test_planted_columns_lead(bundle: Bundle, found: dict[str, Attribution]) -> None:
    names = np.array(Sources.of(bundle.model.config.inputs).names)
    table = samples.table(60, seed=5)
    many = attribute(bundle, table.inputs.index(torch.arange(24)), table.inputs.index(torch.arange(40, 44)))
    planted = {"churn": {0, 1}, "retention": {2}, "engagement": {4, 5}, "ltv": {6}, "life_stage": {7}}
    for task, columns in planted.items():
        order = np.argsort(-np.abs(many[task].contributions).mean(axis=0))
        assert set(names[order[: len(columns)]]) == {samples.COLUMNS[i] for i in columns}, task
    del found


def test_same_seed_same_values_and_another_background_another_base(bundle: Bundle, rows: tuple[Inputs, Inputs]) -> None:
    one = rows[0].index(torch.arange(1))
    first, again = (attribute(bundle, one, rows[1], seed=3)["churn"] for _ in range(2))
    np.testing.assert_array_equal(first.contributions, again.contributions)
    other = attribute(bundle, one, rows[1], seed=4)["engagement"]
    assert not np.array_equal(other.contributions, attribute(bundle, one, rows[1], seed=3)["engagement"].contributions)
    less = attribute(bundle, one, rows[1].index(torch.arange(3)), seed=3)["brand_prediction"]
    assert less.base[0] != attribute(bundle, one, rows[1], seed=3)["brand_prediction"].base[0]
    np.testing.assert_allclose(less.explained, first.explained * 0 + less.explained)


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
