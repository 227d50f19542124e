"""The category bandit against quadrature by scipy, draws, and a plain account of the same model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from feature_assets.events.view import View
from feature_assets.groups.model_derived import bandit
from feature_assets.kernels.bandit import (
    GRID,
    HORIZON,
    _density,
    bandit_measures,
    best_arm,
    day_choices,
    pays,
)
from tests.deliveries import synthetic

POSTERIORS = [
    [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)],
    [(2.0, 5.0), (3.0, 3.0), (1.5, 2.5), (8.0, 9.0)],
    [(40.0, 12.0), (38.0, 14.0), (1.2, 2.8)],
    [(120.0, 30.0), (2.0, 2.0)],
]


def _probabilities(posterior: list[tuple[float, float]]) -> np.ndarray:
    x = (np.arange(GRID) + 0.5) / GRID
    density = np.zeros((len(posterior), GRID))
    for k, (a, b) in enumerate(posterior):
        _density(a, b, np.log(x), np.log(1 - x), density[k])
    return best_arm(density)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_probability_of_being_best_equals_quadrature_and_draws(posterior: list[tuple[float, float]]) -> None:
    arms = [stats.beta(a, b) for a, b in posterior]

    def integrand(x: float, k: int) -> float:
        return float(arms[k].pdf(x) * np.prod([arm.cdf(x) for j, arm in enumerate(arms) if j != k]))

    exact = [integrate.quad(integrand, 0, 1, args=(k,), limit=200)[0] for k in range(len(arms))]
    found = _probabilities(posterior)
    assert found == pytest.approx(exact, abs=2e-3)
    rng = np.random.default_rng(0)
    draws = np.stack([rng.beta(a, b, 40_000) for a, b in posterior])
    share = np.bincount(draws.argmax(axis=0), minlength=len(posterior)) / 40_000
    assert found == pytest.approx(share, abs=0.012)


def _plain(ago: list[int], arm: list[int], prior: np.ndarray) -> tuple[float, float, float, float]:
    """The same model, from its definition: outcomes are looked up anew at every choice."""

    def posterior(before: int, now: int) -> np.ndarray:
        counts = prior.copy()
        for j in range(before):
            after = [ago[e] for e in range(j + 1, before) if arm[e] == arm[j]]
            if after and ago[j] - after[0] <= HORIZON:
                counts[arm[j], 0] += 1
            elif ago[j] - now > HORIZON:
                counts[arm[j], 1] += 1
        return counts

    n = len(ago)
    explored = 0
    for j in range(n):
        counts = posterior(j, ago[j])
        explored += arm[j] != int(np.argmax(counts[:, 0] / counts.sum(axis=1)))
    last = posterior(n, 0)
    means = last[:, 0] / last.sum(axis=1)
    regret = max(means[k] for k in set(arm)) - np.mean([means[k] for k in arm])
    p = _probabilities([(a, b) for a, b in last])
    entropy = stats.entropy(p) / np.log(len(prior))
    return explored / n, regret, entropy, float(np.mean(np.diff(arm) != 0))


@pytest.mark.parametrize("seed", range(5))
def test_measures_equal_the_plain_account(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior = 1 + rng.random((4, 2)) * 2
    ago = np.sort(rng.choice(np.arange(1, 366), 30 + 20 * seed, replace=False))[::-1]
    arm = rng.choice(4, len(ago), p=[0.5, 0.3, 0.15, 0.05])
    start = np.array([0, 0, len(ago), len(ago)])
    found = bandit_measures(start, ago.astype(np.int64), arm.astype(np.int64), prior)
    assert found[1] == pytest.approx(_plain(ago.tolist(), arm.tolist(), prior), rel=1e-9, abs=1e-12)
    assert np.isnan(found[[0, 2]]).all()
    counts = pays(start, ago.astype(np.int64), arm.astype(np.int64), 4)
    decided = sum(
        any(arm[e] == arm[j] and ago[j] - ago[e] <= HORIZON for e in range(j + 1, len(ago))) or ago[j] > HORIZON
        for j in range(len(ago))
    )
    assert counts.sum() == decided


def test_what_the_measures_say() -> None:
    """A loyal customer exploits and does not regret; a wanderer explores, switches, and leaves the sampler unsure."""
    prior = np.tile([1.6, 2.4], (5, 1))
    ago = np.arange(300, 0, -5)
    loyal, wanderer = np.zeros(60, dtype=np.int64), np.arange(60) % 5
    start = np.array([0, 60, 120])
    found = bandit_measures(start, np.concatenate([ago, ago]), np.concatenate([loyal, wanderer]), prior)
    assert found[0] == pytest.approx([0.0, 0.0, found[0, 2], 0.0], abs=0.02)
    assert found[1, 0] > 0.5
    assert found[1, 3] == 1.0
    assert found[1, 2] > 0.9 > 0.1 > found[0, 2]
    some = wanderer.copy()
    some[30:] = np.repeat([1, 2, 3, 4, 0, 1], 5)  # visits of one after the other: the choices at the ends do not pay
    assert bandit_measures(start[:2], ago, some, prior)[0, 1] > 0.02


def test_one_choice_a_day_of_the_category_with_most_spend() -> None:
    start = np.array([0, 6, 7])
    ago = np.array([9, 9, 9, 4, 4, 2, 5], dtype=np.int32)
    arm = np.array([0, 1, 0, 2, 1, -1, -1])
    amount = np.array([2.0, 3.0, 2.0, 1.0, 1.0, 9.0, 1.0])
    offsets, when, which = day_choices(start, ago, arm, amount, 3)
    assert offsets.tolist() == [0, 2, 2]
    assert when.tolist() == [9, 4]
    assert which.tolist() == [0, 2]  # 4.0 against 3.0; the first bought of equals


def test_prior_is_the_share_of_choices_that_paid() -> None:
    view = View(synthetic.tables(), synthetic.AS_OF)
    state = bandit.GROUP.fit([view], [{}], 0)
    prior = state.arrays["prior"]
    assert prior.shape == (len(state.meta["categories"]) + 1, 2)
    assert prior.sum(axis=1) == pytest.approx(np.full(len(prior), 2 + bandit.STRENGTH))
    assert (prior >= 1).all()
    frame = bandit.GROUP.compute(view, state, {})
    assert frame["bandit__switch_rate_365d"].max() <= 1
    assert frame["bandit__regret_365d"].min() >= 0
