"""Soft clusters against scikit-learn, and what must survive a refit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from feature_assets.group import GroupState
from feature_assets.groups.domain import gmm

DIMENSIONS = 30
NAMES = [f"x{i}" for i in range(DIMENSIONS)]


def _population(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n customers around 20 centres in 30 columns; spend rises with the centre's number."""
    centres = np.random.default_rng(5).normal(0, 4, (20, DIMENSIONS))
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 20, n)
    return centres[which] + rng.normal(0, 1, (n, DIMENSIONS)), which + rng.normal(0, 0.1, n)


@pytest.fixture(scope="module")
def fitted() -> GroupState:
    return gmm.fit_mixture(*_population(3000, 1), NAMES, seed=0)


def _oracle(state: GroupState) -> GaussianMixture:
    """scikit-learn's mixture with our values, full covariances."""
    mixture = GaussianMixture(gmm.CLUSTERS, covariance_type="full")
    mixture.weights_, mixture.means_ = state.arrays["weights"], state.arrays["means"]
    mixture.precisions_cholesky_ = state.arrays["precisions"]
    return mixture


def test_posteriors_equal_scikit_learn(fitted: GroupState) -> None:
    x = np.concatenate([_population(500, 2)[0], np.random.default_rng(3).normal(0, 30, (100, DIMENSIONS))])
    posteriors, distance = gmm.evaluate(fitted, x)
    points = (x - fitted.arrays["mean"]) @ fitted.arrays["projection"]
    np.testing.assert_allclose(posteriors, _oracle(fitted).predict_proba(points), atol=1e-9)
    np.testing.assert_allclose(posteriors.sum(axis=1), 1.0, atol=1e-12)
    by_hand = [
        np.sqrt(np.einsum("nd,de,ne->n", points - mean, factor @ factor.T, points - mean))
        for mean, factor in zip(fitted.arrays["means"], fitted.arrays["precisions"], strict=True)
    ]
    np.testing.assert_allclose(distance, np.min(by_hand, axis=0), rtol=1e-9)


def test_diagonal_mixture_equals_scikit_learn() -> None:
    """Few rows make BIC prefer diagonal covariances; the same evaluation serves them."""
    x, spend = _population(400, 1)
    state = gmm.fit_mixture(x, spend, NAMES, seed=0)
    assert state.meta["covariance"] == "diag"
    assert state.meta["bic"]["diag"] < state.meta["bic"]["full"]
    points = (x - state.arrays["mean"]) @ state.arrays["projection"]
    mixture = GaussianMixture(gmm.CLUSTERS, covariance_type="diag")
    mixture.weights_, mixture.means_ = state.arrays["weights"], state.arrays["means"]
    mixture.precisions_cholesky_ = np.diagonal(state.arrays["precisions"], axis1=1, axis2=2)
    np.testing.assert_allclose(gmm.evaluate(state, x)[0], mixture.predict_proba(points), atol=1e-9)


def test_points_are_whitened(fitted: GroupState) -> None:
    x = _population(3000, 1)[0]
    points = (x - fitted.arrays["mean"]) @ fitted.arrays["projection"]
    np.testing.assert_allclose(np.cov(points.T), np.eye(points.shape[1]), atol=1e-8)
    assert points.shape[1] <= gmm.COMPONENTS


def test_numbers_of_clusters_survive_a_refit(fitted: GroupState) -> None:
    """Other customers of the same population, another seed: a customer keeps the number of its cluster."""
    again = gmm.fit_mixture(*_population(3000, 7), NAMES, seed=11)
    x = _population(1000, 8)[0]
    first, second = (gmm.evaluate(state, x)[0].argmax(axis=1) for state in (fitted, again))
    assert (first == second).mean() > 0.95
    assert fitted.meta["log_spend"] == sorted(fitted.meta["log_spend"])


def test_a_row_has_the_same_bits_whatever_is_beside_it(fitted: GroupState) -> None:
    x = _population(5000, 4)[0]
    posteriors, distance = gmm.evaluate(fitted, x)
    for rows in (slice(0, 1), slice(17, 24), slice(4090, 4100)):
        alone = gmm.evaluate(fitted, x[rows])
        np.testing.assert_array_equal(alone[0], posteriors[rows])
        np.testing.assert_array_equal(alone[1], distance[rows])


def test_near_empty_components_are_reported() -> None:
    x, spend = _population(2000, 1)
    x[:4] += 200.0
    state = gmm.fit_mixture(x, spend, NAMES, seed=0)
    small = [k for k, share in enumerate(state.meta["shares"]) if share < gmm.NEAR_EMPTY]
    assert small
    assert state.meta["near_empty"] == small


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 100 training rows"):
        gmm.fit_mixture(*_population(99, 1), NAMES, seed=0)
