"""A signal is published where it ranks errors on customers that did not choose it, and only there."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from ple_model.evaluation.uncertainty.choice import ERROR_MODEL, Choice, choose, quarters
from ple_model.evaluation.uncertainty.error_model import PENALTY, RidgeParts, apply_weights, excess_in_bins
from ple_model.evaluation.uncertainty.ranking import error_ranking

N, CUSTOMERS, COLUMNS = 4_000, 800, 30


def simulated(seed: int, hidden: float = 1.0) -> dict[str, np.ndarray]:
    """Errors whose size depends on three of the columns; `hidden` is how much."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(N, COLUMNS)).astype(np.float32)
    truth = columns[:, 0] + columns[:, 1] - columns[:, 2]
    level = rng.normal(size=N)
    return {
        "columns": columns,
        "truth": truth.astype(np.float64),
        "level": level,
        "excess": np.abs(rng.normal(size=N)) * np.exp(0.3 * hidden * truth + 0.3 * level),
        "customer": rng.integers(0, CUSTOMERS, N),
        "random": rng.normal(size=(20, N)),
    }


def test_a_signal_of_the_noise_is_chosen_and_its_inverse_refused() -> None:
    s = simulated(0)
    signals = {"noise": s["truth"], "level": s["level"], "random": s["random"][0]}
    choice, models = choose(s["excess"], s["level"], s["customer"], signals)
    assert choice.signal == "noise"
    assert models == ()
    assert all(interval.low is not None and interval.low > 0 for interval in choice.tested)
    assert choice.candidates["noise"] > 0.1 > abs(choice.candidates["level"])
    inverted, _ = choose(s["excess"], s["level"], s["customer"], {"inverted": -s["truth"]})
    assert inverted.signal is None
    assert "no signal ranks" in inverted.note


def test_a_restated_probability_is_refused_where_the_noise_is_kept() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1, 5, N)
    y = (rng.random(N) < p).astype(np.float64)
    customer = rng.integers(0, CUSTOMERS, N)
    excess = (y - p) ** 2 - p * (1 - p)
    choice, _ = choose(excess, p, customer, {"p(1 − p)": p * (1 - p), "p": p, "1 − p": 1 - p})
    assert choice.signal is None


def test_the_best_of_many_candidates_that_know_nothing_is_refused() -> None:
    """The half that chooses finds a best one every time; the other half, and its own interval, must not believe it."""
    kept = 0
    for seed in range(10):
        s = simulated(seed, hidden=0.0)
        signals = {f"random {i}": values for i, values in enumerate(s["random"])}
        choice, _ = choose(s["excess"], s["level"], s["customer"], signals, seed=seed)
        kept += choice.signal is not None
    assert kept <= 1


def test_the_error_model_is_fitted_on_one_half_and_holds_on_fresh_rows() -> None:
    s, fresh = simulated(2), simulated(3)
    choice, models = choose(s["excess"], s["level"], s["customer"], {"random": s["random"][0]}, s["columns"])
    assert choice.signal == ERROR_MODEL
    assert len(models) == 2
    assert choice.weights == pytest.approx(np.mean(models, axis=0))
    assert np.corrcoef(choice.weights, [1, 1, -1] + [0] * (COLUMNS - 3))[0, 1] > 0.9
    u = apply_weights(np.asarray(choice.weights), fresh["columns"])
    found = error_ranking(u, fresh["excess"], fresh["level"], fresh["customer"])
    assert found.low is not None
    assert found.low > 0.1
    known = simulated(4, hidden=0.0)
    nothing, _ = choose(known["excess"], known["level"], known["customer"], {}, known["columns"])
    assert nothing.signal is None


def test_a_half_does_not_test_an_error_model_with_its_own_labels() -> None:
    """Other labels of half 0 change the model that half 0 fits, and nothing by which half 0 is tested."""
    s = simulated(5)
    _, quarter = quarters(s["customer"], 0)
    other = s["excess"].copy()
    first = np.flatnonzero(quarter < 2)
    other[first] = other[np.random.default_rng(0).permutation(first)]
    before, models = choose(s["excess"], s["level"], s["customer"], {}, s["columns"])
    after, changed = choose(other, s["level"], s["customer"], {"truth": s["truth"]}, s["columns"])
    assert before.signal == ERROR_MODEL
    parts = [RidgeParts(s["columns"], _target(e, s["level"], quarter), quarter, 4) for e in (s["excess"], other)]
    assert not np.allclose(parts[0].weights((0, 1)), parts[1].weights((0, 1)))
    assert np.allclose(parts[0].weights((2, 3)), parts[1].weights((2, 3)))
    assert np.allclose(models[1], parts[0].weights((2, 3)))
    assert after.signal is None
    assert changed == ()


def _target(excess: np.ndarray, level: np.ndarray, quarter: np.ndarray) -> np.ndarray:
    target = np.empty(len(excess))
    for half in (quarter < 2, quarter >= 2):
        target[half] = excess_in_bins(excess[half], level[half])
    return target


def test_parts_add_up_to_a_ridge_regression() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(600, 5)) + 2, rng.normal(size=600)
    part = rng.integers(0, 3, 600)
    found = RidgeParts(x, y, part, 3).weights((0, 2))
    rows = part != 1
    expected = Ridge(alpha=PENALTY * rows.sum()).fit(x[rows], y[rows]).coef_
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_value_of_a_row_has_the_same_bytes_in_every_batch() -> None:
    s = simulated(7)
    weights = np.random.default_rng(0).normal(size=COLUMNS)
    whole = apply_weights(weights, s["columns"])
    assert whole == pytest.approx(s["columns"].astype(np.float64) @ weights)
    parts = [apply_weights(weights, s["columns"][i : i + 7]) for i in range(0, N, 7)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_few_rows_choose_nothing_and_say_so() -> None:
    s = simulated(8)
    choice, _ = choose(s["excess"][:300], s["level"][:300], s["customer"][:300], {"noise": s["truth"][:300]})
    assert choice.signal is None
    assert "300 labelled validation rows" in choice.note


def test_halves_are_made_of_customers_and_json_gives_back_an_equal_choice() -> None:
    s = simulated(9)
    names = np.array([f"c{i}" for i in s["customer"]])
    customer, quarter = quarters(names, 3)
    assert all(len(set(quarter[customer == one])) == 1 for one in range(50))
    assert np.bincount(quarter).min() > N / 5
    choice, _ = choose(s["excess"], s["level"], names, {}, s["columns"])
    assert Choice.from_dict(json.loads(json.dumps(asdict(choice), allow_nan=False))) == choice
