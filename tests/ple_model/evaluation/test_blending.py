"""The weight of a blend: convex, found exactly, drawn to a half where rows are few."""

import json

import numpy as np
import pytest
from scipy.special import expit, softmax

from ple_model.evaluation.blending import (
    DECIMALS,
    Halves,
    apart,
    fit_weight,
    in_words,
    objective,
)
from ple_model.evaluation.kind import EvaluatedKind
from ple_model.tasks import KINDS

N = 4_000
GRID = np.linspace(0, 1, 1_001)


def binary(seed: int, noise: tuple[float, float], rows: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    first, second = (expit(truth + scale * rng.normal(size=rows)) for scale in noise)
    return first, second, (rng.random(rows) < expit(truth)).astype(np.float64)


def multiclass(seed: int, noise: tuple[float, float], rows: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, 4))
    first, second = (softmax(truth + scale * rng.normal(size=truth.shape), axis=1) for scale in noise)
    cumulated = softmax(truth, axis=1).cumsum(axis=1)
    return first, second, (rng.random(rows)[:, None] > cumulated).sum(axis=1)


def regression(seed: int, noise: tuple[float, float], rows: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    first, second = (truth + scale * rng.normal(size=rows) for scale in noise)
    return first, second, truth + rng.normal(size=rows)


CASES = {"binary": binary, "multiclass": multiclass, "regression": regression}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("noise", [(0.3, 0.3), (0.2, 1.0), (1.0, 0.2), (0.0, 3.0), (3.0, 0.0)])
@pytest.mark.parametrize("rows", [30, N])
def test_the_weight_is_the_minimum_of_a_grid(name: str, noise: tuple[float, float], rows: int) -> None:
    kind = KINDS[name]
    first, second, labels = CASES[name](0, noise, rows)
    losses = np.array([objective(kind, first, second, labels, weight) for weight in GRID])
    assert (np.diff(losses, 2) > -1e-6).all()  # convex
    assert fit_weight(kind, first, second, labels) == pytest.approx(GRID[losses.argmin()], abs=10.0**-DECIMALS)


@pytest.mark.parametrize("name", CASES)
def test_the_better_half_gets_more_and_the_blend_beats_both_on_new_rows(name: str) -> None:
    kind, make = KINDS[name], CASES[name]
    first, second, labels = make(1, (0.5, 0.8))
    weight = fit_weight(kind, first, second, labels)
    assert 0.5 < weight < 1
    assert fit_weight(kind, second, first, labels) == pytest.approx(1 - weight, abs=10.0**-DECIMALS)
    first, second, labels = make(2, (0.5, 0.8))

    def loss(share: float) -> float:
        return objective(kind, first, second, labels, share) - objective(kind, first, second, labels, 0.5)

    prior = 5.0 * (2 * np.array([weight, 0.0, 1.0]) - 1) ** 2
    at_weight, alone, other = np.array([loss(weight), loss(0.0), loss(1.0)]) - prior
    assert at_weight < min(alone, other)


def test_regression_has_the_closed_form() -> None:
    """Minimum of Σ(w·a + (1 − w)·b − y)² / 2s + P(2w − 1)²: a quotient of sums."""
    first, second, labels = regression(3, (0.5, 0.8))
    scale = ((first / 2 + second / 2 - labels) ** 2).mean()
    apart_, left = first - second, second - labels
    weight = (10 - (apart_ * left).sum() / scale) / ((apart_**2).sum() / scale + 20)
    assert fit_weight(KINDS["regression"], first, second, labels) == round(weight, DECIMALS)


@pytest.mark.parametrize("name", CASES)
def test_few_rows_stay_near_a_half(name: str) -> None:
    kind, make = KINDS[name], CASES[name]
    weights = [fit_weight(kind, *make(seed, (1.0, 1.0), rows=12)) for seed in range(20)]
    assert max(abs(weight - 0.5) for weight in weights) < 0.4
    first, second, labels = make(0, (1.0, 1.0))
    assert fit_weight(kind, first[:0], second[:0], labels[:0]) == 0.5
    assert fit_weight(kind, first, first, labels) == 0.5


def halves(name: str, seed: int = 0, **change: bool) -> tuple[EvaluatedKind, Halves, np.ndarray, np.ndarray]:
    kind = KINDS[name]
    first, second, labels = CASES[name](seed, (0.5, 0.8))
    outputs = kind.outputs_of(first) * 0.5  # a network whose outputs need calibration
    mask = np.arange(N) % 3 > 0
    labels = np.where(mask, labels, np.nan if name == "regression" else 0).astype(labels.dtype)
    return kind, Halves.fit(kind, outputs, second, labels, mask, **change), outputs, second


@pytest.mark.parametrize("name", CASES)
def test_both_halves_are_calibrated_first(name: str) -> None:
    kind, fitted, outputs, trees = halves(name)
    assert 0.5 < fitted.weight < 1
    assert fitted.rows == N - -(-N // 3)
    first, second = fitted.predictions(kind, outputs, trees)
    true, _, _ = CASES[name](0, (0.5, 0.8))
    assert np.corrcoef(first.ravel(), true.ravel())[0, 1] > 0.99
    mixed = kind.calibrator(outputs).identity().apply(fitted.mix(kind, first, second))
    assert mixed == pytest.approx(fitted.weight * first + (1 - fitted.weight) * second, abs=1e-9)
    assert Halves.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize("name", CASES)
def test_without_a_blend_the_network_has_all_the_weight(name: str) -> None:
    fitted = halves(name, blend=False)[1]
    assert (fitted.weight, fitted.rows) == (1.0, 0)
    other = halves(name)[1]
    assert (fitted.network, fitted.trees) == (other.network, other.trees)


def test_brands_are_left_to_the_network() -> None:
    rng = np.random.default_rng(0)
    scores, trees = rng.normal(size=(300, 6)), rng.random((300, 6))
    labels = rng.integers(0, 6, (300, 1))
    fitted = Halves.fit(KINDS["contrastive"], scores, trees, labels, np.ones(300, dtype=bool))
    assert fitted.weight == 1.0


def test_distance_of_the_halves() -> None:
    a, b = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    assert apart(a, b).tolist() == [0.25, 1.0]
    assert apart(a[:, 0], b[:, 0]).tolist() == [0.0, 1.0]


def test_weights_in_words() -> None:
    assert in_words(1.0) == "network alone"
    assert in_words(0.0) == "boosted trees alone"
    assert in_words(0.62) == "62% network, 38% boosted trees"
