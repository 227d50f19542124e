"""Calibration errors: their bins, their bias, and how often the test is wrong, on forecasts whose truth is known."""

import numpy as np
import pytest

from ple_model.evaluation.reliability import (
    calibration_test,
    debiased_error,
    expected_calibration_error,
    judge_calibration,
    mass_bins,
)
from ple_model.tasks import KINDS


def forecast(seed: int, rows: int, off: float = 0.0, each: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that are `off` too high, and what came true; a customer's `each` rows are one draw, copied."""
    rng = np.random.default_rng(seed)
    p = np.repeat(rng.uniform(0.05, 0.85, rows // each), each)
    hit = np.repeat(rng.random(rows // each), each) < p
    return p + off, hit.astype(np.float64), np.arange(rows) // each


def test_error_of_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(3)
    p = rng.random(3_000)
    y = rng.random(3_000) < p**2
    order = np.argsort(p)
    by_hand = sum(abs(p[part].sum() - y[part].sum()) for part in np.array_split(order, 15)) / len(p)
    assert expected_calibration_error(p, y) == pytest.approx(by_hand, abs=1e-3)
    sizes = np.bincount(mass_bins(p))
    assert len(sizes) == 15
    assert sizes.max() - sizes.min() <= 1
    # Equal probabilities share one bin: a constant at the base rate is calibrated, in whatever order rows come.
    assert expected_calibration_error(np.full(3_000, y.mean()), y) == pytest.approx(0, abs=1e-12)
    assert len(np.unique(mass_bins(p[:25]))) == 2


def test_debiased_error_is_that_of_kumar_where_a_bin_s_probabilities_are_equal() -> None:
    rng = np.random.default_rng(0)
    p = np.repeat([0.1, 0.3, 0.6], 200)
    y = (rng.random(600) < p + 0.1).astype(np.float64)
    squares = []
    for level in (0.1, 0.3, 0.6):
        rate, rows = y[p == level].mean(), (p == level).sum()
        squares.append(((level - rate) ** 2 - rate * (1 - rate) / (rows - 1)) / 3)
    assert debiased_error(p, y, bins=3) == pytest.approx(np.sqrt(sum(squares)), abs=1e-12)


@pytest.mark.parametrize("each", [1, 4])
def test_debiased_error_is_right_on_average(each: int) -> None:
    """Its square has the mean .05²; the plain error of so few rows is twice the truth."""
    squares, plain = [], []
    for seed in range(300):
        p, hit, customers = forecast(seed, 800, off=0.05, each=each)
        squares.append(debiased_error(p, hit, customers) ** 2)
        plain.append(expected_calibration_error(p, hit))
    # A square below 0 is cut off, which adds to the mean: little at this size.
    assert np.mean(squares) == pytest.approx(0.05**2, rel=0.25 if each == 1 else 0.6)
    calibrated = [debiased_error(*forecast(seed, 800, each=each)) for seed in range(300)]
    plain = [expected_calibration_error(*forecast(seed, 800, each=each)[:2]) for seed in range(300)]
    assert np.mean(calibrated) < 0.5 * np.mean(plain)


def test_customers_whose_rows_depend_on_each_other_are_known_to_be_fewer() -> None:
    wrong = {"by customer": 0, "by row": 0}
    for seed in range(120):
        p, hit, customers = forecast(seed, 800, each=4)
        wrong["by customer"] += calibration_test(p, hit, customers, seed) < 0.05
        wrong["by row"] += calibration_test(p, hit, None, seed) < 0.05
    assert wrong["by customer"] <= 13  # nominal 6 of 120
    assert wrong["by row"] > 30


def test_the_test_of_independent_rows_is_wrong_as_often_as_it_says_and_sees_what_is_off() -> None:
    calibrated = [calibration_test(*forecast(seed, 500)[:2], seed=seed) for seed in range(120)]
    assert 1 <= sum(p < 0.05 for p in calibrated) <= 13
    off = [calibration_test(*forecast(seed, 2_000, off=0.08)[:2], seed=seed) for seed in range(20)]
    assert sum(p < 0.05 for p in off) >= 19
    off = [calibration_test(*forecast(seed, 2_000, off=0.08), seed=seed) for seed in range(20)]
    assert sum(p < 0.05 for p in off) >= 19


def test_a_finding_in_words() -> None:
    good, bad = (judge_calibration(*forecast(1, 3_000, off=off)) for off in (0.0, 0.1))
    assert good.statement.startswith("not distinguishable from calibrated on 3,000 rows")
    assert not good.distinguishable
    assert bad.statement.startswith("not calibrated")
    assert bad.debiased == pytest.approx(0.1, abs=0.02)


def test_kinds_of_probabilities_report_it() -> None:
    p, hit, _ = forecast(0, 400)
    found = KINDS["binary"].measure(p, hit)
    whole = judge_calibration(p, hit)
    assert (found["ece"], found["ece_debiased"], found["calibration_p"]) == (whole.error, whole.debiased, whole.p)
