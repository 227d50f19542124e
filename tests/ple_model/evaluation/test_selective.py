"""Risk, coverage and quarters agree with plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ple_model.evaluation.conformal import Intervals, Sets
from ple_model.evaluation.selective import coverage, risk_by_rows, selective
from ple_model.tasks import KINDS

N = 2_000


def data(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    u, x = rng.random(N), rng.normal(size=N)
    return x, x + rng.normal(size=N) * (0.2 + u), rng.random(N) < 0.8, rng.integers(0, 300, N), u


def test_risks_are_means_of_the_most_certain_rows() -> None:
    rng = np.random.default_rng(0)
    errors, u = rng.random(50), rng.permutation(50).astype(float)
    found = risk_by_rows(errors, u)
    for k in range(1, 51):
        assert found[k - 1] == pytest.approx(errors[np.argsort(u)[:k]].mean())


def test_rows_of_equal_u_count_as_the_mean_over_all_their_orders() -> None:
    errors, u = np.array([1.0, 5.0, 2.0, 0.0]), np.array([0.5, 0.1, 0.5, 0.5])
    rng = np.random.default_rng(1)
    orders = [np.concatenate([[1], rng.permutation([0, 2, 3])]) for _ in range(4_000)]
    expected = np.mean([np.cumsum(errors[order]) / np.arange(1, 5) for order in orders], axis=0)
    assert risk_by_rows(errors, u) == pytest.approx(expected, abs=0.05)
    assert risk_by_rows(errors, np.zeros(4)) == pytest.approx(np.full(4, 2.0))


def test_a_good_u_lies_between_chance_and_the_errors_themselves() -> None:
    x, y, mask, customers, u = data(2)
    found = selective(KINDS["regression"], x, y, mask, customers, u)
    assert found is not None
    assert found.aurc_best < found.aurc < found.aurc_random
    assert found.rows == mask.sum()
    assert found.aurc_random == pytest.approx(np.abs(x - y)[mask].mean())
    assert list(found.error) == sorted(found.error)
    order = np.argsort(u[mask])
    assert found.error == pytest.approx([part.mean() for part in np.array_split(np.abs(x - y)[mask][order], 4)])
    assert found.ranking.low is not None
    assert found.ranking.low > 0
    assert found.curve[-1] == pytest.approx((1.0, found.aurc_random))
    assert len(found.curve) == 20
    worse = selective(KINDS["regression"], x, y, mask, customers, 1 - u)
    assert worse is not None
    assert worse.aurc > found.aurc_random
    json.dumps(found.to_dict(), allow_nan=False)


def test_errors_beyond_the_expected_ones_are_shown_by_quarter() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(1, 4, N)
    y = (rng.random(N) < p).astype(np.float64)
    found = selective(KINDS["binary"], p, y, None, np.arange(N), p * (1 - p))
    assert found is not None
    assert found.error[-1] > 2 * found.error[0]  # the prediction is restated
    assert np.abs(found.excess).max() < 0.03
    assert selective(KINDS["uplift"], p, y, None, np.arange(N), p) is None
    assert selective(KINDS["binary"], p, y, np.zeros(N, dtype=bool), np.arange(N), p) is None


def test_coverage_is_the_share_of_labelled_rows_inside() -> None:
    x, y, mask, customers, _ = data(4)
    region = Intervals.fit(x[:1_000], y[:1_000], None)
    assert region is not None
    found = region.of(x, None, x)
    got = coverage(KINDS["regression"], region, found, y, mask, customers)
    assert got is not None
    inside = (found[:, 0] <= y) & (y <= found[:, 1])
    assert got.held.estimate == pytest.approx(inside[mask].mean())
    assert got.held.low is not None
    assert got.held.high is not None
    assert got.held.low < inside[mask].mean() < got.held.high
    assert got.held.high - got.held.low == pytest.approx(2 * 1.96 * np.sqrt(0.09 / mask.sum()), rel=0.3)
    assert got.size == pytest.approx((found[mask, 1] - found[mask, 0]).mean())
    assert coverage(KINDS["regression"], region, found, y, mask & False, customers) is None
    p = np.full((N, 2), 0.5)
    sets = Sets.fit(p, np.zeros(N, dtype=int))
    assert sets is not None
    both = coverage(KINDS["multiclass"], sets, sets.of(p, None, p), np.ones(N, dtype=int), mask, customers)
    assert both is not None
    assert (both.held.estimate, both.size) == (1.0, 2.0)
