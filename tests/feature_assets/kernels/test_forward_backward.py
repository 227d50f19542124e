"""The kernels of hidden Markov models against hmmlearn, against all paths one by one, and in hard cases."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM, PoissonHMM

from feature_assets.kernels.forward_backward import emission_scores, forward_backward, path_entropy, viterbi
from feature_assets.kernels.monthly import centred_log_ratios

SEEDS = range(6)


def chain(rng: np.random.Generator, states: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.dirichlet(np.ones(states)), rng.dirichlet(np.full(states, 0.5), size=states)


def starts(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@pytest.mark.parametrize("implementation", ["log", "scaling"])
@pytest.mark.parametrize("seed", SEEDS)
def test_gaussian_posteriors_equal_hmmlearn(seed: int, implementation: str) -> None:
    rng = np.random.default_rng(seed)
    states, channels, lengths = int(rng.integers(2, 7)), int(rng.integers(1, 5)), [90, 1, 24, 2, 57]
    startprob, transmat = chain(rng, states)
    library = GaussianHMM(states, "diag", implementation=implementation)
    library.startprob_, library.transmat_ = startprob, transmat
    library.means_ = rng.normal(size=(states, channels))
    library.covars_ = rng.uniform(0.2, 2.0, (states, channels))
    values, start = rng.normal(0.0, 1.5, (sum(lengths), channels)), starts(lengths)
    scores = emission_scores(values, np.zeros(channels, dtype=bool), library.means_, library._covars_)
    posterior, log_likelihood, _ = forward_backward(start, scores, startprob, transmat)
    path, log_joint = viterbi(start, scores, startprob, transmat)
    for i, (first, last) in enumerate(pairwise(start)):
        expected, by_library = library.score_samples(values[first:last])
        np.testing.assert_allclose(posterior[first:last], by_library, rtol=0, atol=1e-12)
        np.testing.assert_allclose(log_likelihood[i], expected, rtol=1e-12)
        joint, states_of = library.decode(values[first:last])
        np.testing.assert_allclose(log_joint[i], joint, rtol=1e-12)
        np.testing.assert_array_equal(path[first:last], states_of)


@pytest.mark.parametrize("seed", SEEDS)
def test_poisson_posteriors_equal_hmmlearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    startprob, transmat = chain(rng, 5)
    library = PoissonHMM(5)
    library.startprob_, library.transmat_, library.lambdas_ = startprob, transmat, rng.gamma(1.0, 1.0, (5, 3))
    counts, start = rng.poisson(0.6, (200, 3)).astype(np.float64), starts([90, 90, 20])
    scores = emission_scores(counts, np.ones(3, dtype=bool), library.lambdas_, np.ones((5, 3)))
    posterior, log_likelihood, _ = forward_backward(start, scores, startprob, transmat)
    expected, by_library = library.score_samples(counts.astype(np.int64), [90, 90, 20])
    np.testing.assert_allclose(posterior, by_library, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_likelihood.sum(), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_against_all_paths(seed: int) -> None:
    """Given scores, zeros among the probabilities: posteriors, transitions, best path and path entropy."""
    rng = np.random.default_rng(seed)
    states, length = 3, 5
    startprob, transmat = chain(rng, states)
    if seed % 2:
        transmat = np.triu(transmat)  # no way back
        transmat /= transmat.sum(axis=1, keepdims=True)
        startprob = np.array([0.6, 0.4, 0.0])
    scores = rng.normal(0.0, 3.0, (length, states))
    paths = np.array(list(product(range(states), repeat=length)))
    joint = startprob[paths[:, 0]] * np.exp(scores[np.arange(length), paths].sum(axis=1))
    for t in range(1, length):
        joint = joint * transmat[paths[:, t - 1], paths[:, t]]
    total, weight = joint.sum(), joint / joint.sum()
    expected = np.array([[weight[paths[:, t] == k].sum() for k in range(states)] for t in range(length)])
    moves = np.zeros((states, states))
    for t in range(1, length):
        np.add.at(moves, (paths[:, t - 1], paths[:, t]), weight)
    start = starts([length])
    posterior, log_likelihood, counts = forward_backward(start, scores, startprob, transmat)
    np.testing.assert_allclose(posterior, expected, atol=1e-13)
    np.testing.assert_allclose(log_likelihood, [np.log(total)], rtol=1e-12)
    np.testing.assert_allclose(counts, moves, atol=1e-13)
    path, log_joint = viterbi(start, scores, startprob, transmat)
    np.testing.assert_array_equal(path, paths[joint.argmax()])
    np.testing.assert_allclose(log_joint, [np.log(joint.max())], rtol=1e-12)
    some = weight[weight > 0]
    np.testing.assert_allclose(
        path_entropy(start, scores, startprob, transmat), [-(some * np.log(some)).sum()], atol=1e-12
    )


def test_scores_that_underflow() -> None:
    """A state that cannot be reached may fit best by e^5000: it must not hide the ones that can."""
    startprob, transmat = np.array([1.0, 0.0, 0.0]), np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])
    scores = np.array([[-4000.0, 0.0, 1000.0], [-4000.0, -4001.0, 1000.0], [-9000.0, -8990.0, 0.0]])
    posterior, log_likelihood, _ = forward_backward(starts([3]), scores, startprob, transmat)
    stays, leaves_late, leaves_early = 0.25 * np.exp(-10.0), 0.25, 0.5 * np.exp(-1.0)
    total = stays + leaves_late + leaves_early
    np.testing.assert_allclose(posterior[1], [(stays + leaves_late) / total, leaves_early / total, 0.0], atol=1e-13)
    np.testing.assert_allclose(log_likelihood, [np.log(total) - 16990.0], rtol=1e-13)


def test_contradiction_late_in_a_long_sequence() -> None:
    rng = np.random.default_rng(0)
    startprob, transmat = chain(rng, 4)
    scores = rng.normal(0.0, 400.0, (2000, 4))
    posterior, log_likelihood, counts = forward_backward(starts([2000]), scores, startprob, transmat)
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(counts.sum(), 1999.0, rtol=1e-12)
    assert np.isfinite(log_likelihood).all()
    assert viterbi(starts([2000]), scores, startprob, transmat)[1][0] <= log_likelihood[0]


def test_impossible_and_empty_sequences() -> None:
    startprob, transmat = np.array([1.0, 0.0]), np.eye(2)
    scores = np.array([[0.0, 0.0], [-np.inf, 0.0], [-1.0, -2.0]])
    start = starts([2, 0, 1])
    posterior, log_likelihood, _ = forward_backward(start, scores, startprob, transmat)
    np.testing.assert_array_equal(log_likelihood, [-np.inf, 0.0, -1.0])
    assert np.isnan(posterior[:2]).all()
    np.testing.assert_array_equal(posterior[2], [1.0, 0.0])
    entropy = path_entropy(start, scores, startprob, transmat)
    assert np.isnan(entropy[0])
    np.testing.assert_array_equal(entropy[1:], [0.0, 0.0])


def test_what_is_not_observed_says_nothing() -> None:
    rng = np.random.default_rng(3)
    location, spread = rng.gamma(1.0, 1.0, (4, 2)), np.ones((4, 2))
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, 0.3]])
    scores = emission_scores(values, np.array([True, False]), location, spread)
    np.testing.assert_array_equal(scores[1], 0.0)
    alone = emission_scores(values[:1, :1], np.array([True]), location[:, :1], spread[:, :1])
    np.testing.assert_array_equal(scores[0], alone[0])


def test_a_sequence_has_the_same_bits_in_any_company() -> None:
    rng = np.random.default_rng(5)
    startprob, transmat = chain(rng, 5)
    lengths = rng.integers(1, 91, 40).tolist()
    start, scores = starts(lengths), rng.normal(0.0, 2.0, (sum(lengths), 5))
    every = [f(start, scores, startprob, transmat) for f in (forward_backward, viterbi)]
    entropy = path_entropy(start, scores, startprob, transmat)
    for i in rng.permutation(40)[:10]:
        own, alone = scores[start[i] : start[i + 1]].copy(), starts([lengths[i]])
        posterior, log_likelihood, _ = forward_backward(alone, own, startprob, transmat)
        np.testing.assert_array_equal(posterior, every[0][0][start[i] : start[i + 1]])
        assert log_likelihood[0] == every[0][1][i]
        np.testing.assert_array_equal(viterbi(alone, own, startprob, transmat)[0], every[1][0][start[i] : start[i + 1]])
        assert path_entropy(alone, own, startprob, transmat)[0] == entropy[i]


def test_log_ratios_against_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    row = np.sort(rng.integers(0, 6, 80))
    step, codes, prior = rng.integers(-1, 4, 80), rng.integers(-1, 4, 80), np.array([0.5, 0.3, 0.2])
    result = centred_log_ratios(row, step, codes, 6, 3, prior, 4.0)
    for i in range(6):
        for t in range(3):
            mine = codes[(row == i) & (step == t) & (codes >= 0) & (codes < 3)]
            if not len(mine):
                assert np.isnan(result[i, t]).all()
                continue
            logs = np.log((np.bincount(mine, minlength=3) + 4.0 * prior) / (len(mine) + 4.0))
            np.testing.assert_allclose(result[i, t], logs - logs.mean(), atol=1e-14)
