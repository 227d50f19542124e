"""Expected values in natural units: the closed form of a lognormal, a total that is kept, an order that is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ple_model.evaluation.calibration.natural import NaturalMap, fit_natural

NONE = np.zeros(1)


def lognormal(rows: int, seed: int, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (means of log1p values), and labels that scatter around them."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(1.0, 6.0, rows)
    return mean, mean + rng.normal(0.0, spread, rows)


def test_the_expectation_of_a_lognormal_is_found() -> None:
    """E[expm1(m + s·z)] = exp(m + s²/2) − 1."""
    fitted = fit_natural(*lognormal(200_000, 0), np.expm1, NONE)
    at = np.linspace(1.5, 5.5, 9)
    assert fitted.apply(at) == pytest.approx(np.exp(at + 0.7**2 / 2) - 1, rel=0.03)
    assert (np.expm1(at) < 0.85 * fitted.apply(at)).all()  # the inverse alone is too low
    assert (fitted.rows, fitted.note) == (200_000, "")


def test_the_total_of_other_rows_is_met_where_the_inverse_misses_it() -> None:
    fitted = fit_natural(*lognormal(20_000, 1), np.expm1, NONE)
    x, y = lognormal(20_000, 2)
    assert fitted.apply(x).sum() == pytest.approx(np.expm1(y).sum(), rel=0.05)
    assert np.expm1(x).sum() < 0.85 * np.expm1(y).sum()


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 2_500), seed=st.integers(0, 999), zeros=st.floats(0, 1), ties=st.booleans())
def test_the_total_is_kept_and_the_map_increases(rows: int, seed: int, zeros: float, ties: bool) -> None:
    x, y = lognormal(rows, seed, 1.0)
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(rows) < zeros, 0.0, np.maximum(y, 0.0))
    x = np.round(x) if ties else x
    fitted = fit_natural(x, y, np.expm1, NONE)
    assert fitted.apply(x).sum() == pytest.approx(np.expm1(y).sum(), rel=1e-9)
    assert (np.diff(fitted.at) > 0).all()
    assert (np.diff(fitted.value) >= -1e-9 * max(fitted.value)).all()
    assert min(fitted.value) >= 0


def test_the_largest_predictions_keep_their_order() -> None:
    x, y = lognormal(3_000, 3)
    value = fit_natural(x, y, np.expm1, NONE).apply(np.sort(x)[-100:])
    assert (np.diff(value) > 0).all()


def test_few_rows_move_the_inverse_as_a_whole() -> None:
    x, y = lognormal(40, 4)
    fitted = fit_natural(x, y, np.expm1, NONE)
    ratio = fitted.apply(np.array([2.0, 3.0, 5.0])) / np.expm1([2.0, 3.0, 5.0])
    assert ratio == pytest.approx([ratio[0]] * 3, rel=0.1)


def test_without_a_row_it_is_the_inverse_over_the_training_labels() -> None:
    train = lognormal(2_000, 5)[1]
    fitted = fit_natural(np.zeros(0), np.zeros(0), np.expm1, train)
    assert fitted.note
    assert fitted.rows == 0
    assert fitted.apply(np.array([2.0, 4.0])) == pytest.approx(np.expm1([2.0, 4.0]), rel=0.05)


def test_an_interval_in_natural_units_holds_as_many_values() -> None:
    x, y = lognormal(5_000, 7)
    y = np.maximum(y, 0.0)
    ends = np.stack([x - 1.2, x + 1.2], axis=1)
    natural = fit_natural(x, y, np.expm1, NONE).ends(ends)
    assert natural is not None
    assert natural == pytest.approx(np.expm1(np.maximum(ends, 0.0)), rel=1e-3, abs=1e-3)
    inside = (ends[:, 0] <= y) & (y <= ends[:, 1])
    held = (natural[:, 0] <= np.expm1(y)) & (np.expm1(y) <= natural[:, 1])
    assert held.mean() == pytest.approx(inside.mean(), abs=0.002)


def test_a_map_that_was_saved_without_its_scale_has_no_ends() -> None:
    assert (
        NaturalMap.from_dict({"at": [0.0, 1.0], "value": [0.0, 2.0], "rows": 9, "note": ""}).ends(np.zeros((1, 2)))
        is None
    )


def test_it_survives_json_and_a_row_does_not_depend_on_the_others() -> None:
    x, y = lognormal(500, 6)
    fitted = fit_natural(x, y, np.expm1, NONE)
    assert NaturalMap.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
    whole = fitted.apply(x)
    assert [fitted.apply(x[i : i + 1])[0] for i in range(500)] == whole.tolist()
    with pytest.raises(TypeError):
        NaturalMap.from_dict(fitted.to_dict() | {"slope": 1.0})


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="one number a row"):
        fit_natural(np.zeros((4, 2)), np.zeros((4, 2)), np.expm1, NONE)
    with pytest.raises(ValueError, match="not finite"):
        fit_natural(np.zeros(3), np.array([0.0, np.nan, 1.0]), np.expm1, NONE)
