"""Contributions of columns to the margins of trees: shapes, sums, and a tree that can be worked out by hand."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from ple_model.boosting.boosted import Boosted


def _boosted(kind: str, labels: np.ndarray, x: np.ndarray, columns: tuple[int, ...] = (), **params: object) -> Boosted:
    targets = [labels] if not columns else [labels[:, c] for c in columns]
    texts = []
    for target in targets:
        data = lightgbm.Dataset(x, label=target)
        settings = {"num_leaves": 4, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1, **params}
        texts.append(lightgbm.train(settings, data, num_boost_round=5).model_to_string())
    constant = tuple(labels.mean(axis=0)) if labels.ndim == 2 else float(labels.mean())
    return Boosted(kind, constant, tuple(texts), columns, (5,) * len(texts), x.shape[1], len(x), 5)


def test_margins_of_classes_are_in_the_order_of_the_classes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    x[::5, 1] = np.nan
    labels = np.digitize(x[:, 0], [-0.5, 0.5])
    trees = _boosted("multiclass", labels, x, objective="multiclass", num_class=3)
    found = trees.contributions(x[:50])
    assert found.shape == (50, 4, 3)
    np.testing.assert_allclose(found.sum(axis=1), trees.boosters[0].predict(x[:50], raw_score=True), atol=1e-9)
    size = np.abs(found[:, :-1]).mean(axis=(0, 2))
    assert size[0] > 10 * size[1:].max()
    assert trees.contributions(x[:0]).shape == (0, 4, 3)


def test_a_tree_of_two_splits_is_shared_as_shapley_shares_it() -> None:
    """Labels x₀·x₁ of all four pairs of 0 and 1: with the other column unknown a column's value is its mean."""
    x = np.array([[a, b] for a in (0, 1) for b in (0, 1)] * 50, dtype=np.float32)
    labels = (x[:, 0] * x[:, 1]).astype(np.float64)
    data = lightgbm.Dataset(x, label=labels)
    settings = {"objective": "regression", "learning_rate": 1.0, "num_leaves": 4, "min_data_in_leaf": 1}
    booster = lightgbm.train({**settings, "verbosity": -1, "num_threads": 1}, data, num_boost_round=1)
    trees = Boosted("regression", 0.25, (booster.model_to_string(),), (), (1,), 2, len(x), 1)
    found = trees.contributions(np.array([[1, 1], [0, 1]], dtype=np.float32))[:, :, 0]
    # v(∅) = ¼, v({0}) = v({1}) = ½, v({0, 1}) = 1 for (1, 1); 0, ½, 0 for (0, 1)
    np.testing.assert_allclose(found, [[0.375, 0.375, 0.25], [-0.375, 0.125, 0.25]], atol=1e-6)


def test_outputs_have_margins_of_their_own_and_a_constant_without_a_model() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    labels = np.stack([x[:, 0], np.full(300, 7.0), x[:, 1]], axis=1)
    trees = _boosted("regression", labels, x, columns=(0, 2), objective="regression")
    found = trees.contributions(x[:20])
    assert found.shape == (20, 3, 3)
    np.testing.assert_allclose(found.sum(axis=1), trees.predict(x[:20]), atol=1e-6)
    assert not found[:, :-1, 1].any()


def test_another_width_is_refused() -> None:
    x = np.random.default_rng(2).normal(size=(100, 2)).astype(np.float32)
    trees = _boosted("regression", x[:, 0].astype(np.float64), x, objective="regression")
    with pytest.raises(ValueError, match="3 columns for trees on 2"):
        trees.contributions(np.zeros((1, 3), dtype=np.float32))
