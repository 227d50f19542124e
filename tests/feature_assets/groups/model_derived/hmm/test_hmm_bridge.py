"""The continuous-time bridge against closed forms, the matrix exponential, and simulation-free derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from feature_assets.groups.model_derived.hmm.bridge import (
    MEASURES,
    Bridge,
    generator,
    hitting_times,
    measures,
    stationary,
)


def rates(rng: np.random.Generator, states: int) -> np.ndarray:
    q = rng.gamma(0.5, 0.2, (states, states))
    np.fill_diagonal(q, 0.0)
    np.fill_diagonal(q, -q.sum(axis=1))
    return q


def test_two_states_in_closed_form() -> None:
    a, b = 0.2, 0.05
    q = generator(np.array([[1 - a, a], [b, 1 - b]]))
    rate = -np.log(1 - a - b) / (a + b)
    np.testing.assert_allclose(q, rate * np.array([[-a, a], [b, -b]]), atol=1e-14)
    np.testing.assert_allclose(stationary(q), [b / (a + b), a / (a + b)], atol=1e-14)
    np.testing.assert_allclose(hitting_times(q, 0), [0.0, 1 / (rate * b)], rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_an_embeddable_matrix_gives_its_generator_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = rates(rng, int(rng.integers(2, 7)))
    np.testing.assert_allclose(generator(expm(q)), q, atol=1e-10)
    bridge = Bridge.of(expm(q), np.arange(len(q), dtype=np.float64))
    assert bridge.embedding_error() < 1e-10


def test_a_matrix_that_is_not_embeddable_gets_the_nearest_rates() -> None:
    """No chain in continuous time goes 0 → 1 → 2 → 0 in single steps of one; the logarithm has negative rates."""
    p = np.array([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.4, 0.0, 0.6]])
    q = generator(p)
    off = q[~np.eye(3, dtype=bool)]
    assert off.min() >= 0.0
    np.testing.assert_allclose(q.sum(axis=1), 0.0, atol=1e-15)
    assert 0.01 < np.abs(expm(q) - p).max() < 0.2


def test_a_negative_eigenvalue_still_gives_a_generator() -> None:
    q = generator(np.array([[0.1, 0.9], [0.8, 0.2]]))
    assert np.isfinite(q).all()
    np.testing.assert_allclose(q.sum(axis=1), 0.0, atol=1e-15)


def test_a_singular_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="singular"):
        generator(np.full((3, 3), 1 / 3))


@pytest.mark.parametrize("seed", range(5))
def test_stationary_and_hitting_times(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = rates(rng, 5)
    pi = stationary(q)
    np.testing.assert_allclose(pi @ expm(q * 7.0), pi, atol=1e-12)
    inner = [0, 1, 3, 4]  # E[T] = ∫ P(T > s) ds, the integral as a block of a matrix exponential (Van Loan 1978)
    block = np.zeros((8, 8))
    block[:4, :4], block[:4, 4:] = q[np.ix_(inner, inner)], np.eye(4)
    expected = expm(block * 5000.0)[:4, 4:].sum(axis=1)
    np.testing.assert_allclose(hitting_times(q, 2)[inner], expected, rtol=1e-6)
    assert hitting_times(q, 2)[2] == 0.0


def test_a_state_that_may_never_arrive_waits_forever() -> None:
    q = np.array([[-1.0, 0.5, 0.5, 0.0], [1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.2, 0.3, 0.0, -0.5]])
    times = hitting_times(q, 1)
    assert times[1] == 0.0
    assert np.isinf(times[[0, 2, 3]]).all()  # state 2 is never left, and both others may fall into it
    np.testing.assert_allclose(hitting_times(q[np.ix_([0, 1], [0, 1])], 0), [0.0, 1.0])


def test_measures_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    q, activity = rates(rng, 5), np.array([0.1, 0.3, 0.9, 2.0, 5.0])
    bridge = Bridge.of(expm(q), activity)
    posterior = np.vstack([rng.dirichlet(np.ones(5), 4), np.eye(5)[3], bridge.stationary])
    found = dict(zip(MEASURES, measures(bridge, posterior, np.arange(6.0)).T, strict=True))
    np.testing.assert_array_equal(np.column_stack([found[f"posterior_{k}"] for k in range(5)]), posterior)
    np.testing.assert_array_equal(found["posterior_5"], 0.0)
    np.testing.assert_array_equal(found["log_likelihood"], np.arange(6.0))
    assert found["entropy"][4] == 0.0
    step = 1e-4
    before, after = posterior @ expm(-q * step), posterior @ expm(q * step)
    velocity, change = (after - before) / (2 * step), (after - 2 * posterior + before) / step**2
    np.testing.assert_allclose(found["speed"], np.linalg.norm(velocity, axis=1), atol=1e-6)
    np.testing.assert_allclose(found["acceleration"], np.linalg.norm(change, axis=1), atol=1e-5)
    np.testing.assert_allclose(found["drift"], velocity @ activity, atol=1e-6)
    np.testing.assert_allclose(found["curvature"], change @ activity, atol=1e-5)
    np.testing.assert_allclose(
        [found[name][5] for name in ("speed", "acceleration", "drift", "curvature", "distance_to_stationary")],
        0.0,
        atol=1e-12,
    )
    stay = expm(q)[3, 3]
    dwell = sum(stay**s for s in range(1, 5000))  # expected number of further steps: Σ P(still there after s)
    np.testing.assert_allclose(found["remaining_dwell"][4], dwell, rtol=1e-10)
    np.testing.assert_allclose(found["less_active_next"][4], expm(q)[3, :3].sum(), rtol=1e-12)
    np.testing.assert_allclose(found["hitting_time"][4], hitting_times(q, 0)[3], rtol=1e-12)
    np.testing.assert_allclose(
        found["distance_to_stationary"], np.abs(posterior - bridge.stationary).sum(axis=1) / 2, atol=1e-15
    )
