"""Totals of predicted and observed values, and the interval of their ratio."""

from __future__ import annotations

import numpy as np
import pytest

from ple_model.evaluation.totals import compare_totals


def test_sums_and_their_ratio() -> None:
    found = compare_totals(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0]), ["a", "b", "a"])
    assert (found.rows, found.predicted, found.observed, found.ratio) == (3, 6.0, 5.0, 1.2)


def test_the_interval_is_that_of_drawing_customers() -> None:
    rng = np.random.default_rng(0)
    customers = np.repeat(np.arange(150), 4)
    level = np.exp(rng.normal(0, 1, 150))[customers]
    predicted, observed = level, level * np.exp(rng.normal(0, 0.4, 150))[customers]
    found = compare_totals(predicted, observed, customers, resamples=4_000)
    drawn = []
    for seed in range(1_500):
        who = np.random.default_rng(seed).integers(0, 150, 150)
        rows = (who[:, None] * 4 + np.arange(4)).ravel()
        drawn.append(predicted[rows].sum() / observed[rows].sum())
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    single = compare_totals(predicted, observed, np.arange(600), resamples=4_000)  # rows taken for independent
    assert single.low is not None
    assert found.low is not None
    assert single.low > found.low


def test_without_an_observed_value_there_is_no_ratio() -> None:
    found = compare_totals(np.ones(3), np.zeros(3), [1, 2, 3])
    assert (found.ratio, found.low, found.high) == (None, None, None)
