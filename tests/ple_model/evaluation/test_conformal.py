"""Regions keep their promise of coverage, and depend on what they are told to depend on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from ple_model.evaluation.conformal import Intervals, Sets, conformal_quantile, region_from_dict


def values(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, labels that are noisier where predictions are high and where u is, and u."""
    rng = np.random.default_rng(seed)
    x, u = rng.normal(0, 1, rows), rng.random(rows)
    return x, x + rng.normal(size=rows) * np.exp(0.3 * x + u), u


def classes(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(0, 1.5, (rows, 6)), axis=1)
    return p, (p.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)


@pytest.mark.parametrize("with_u", [True, False])
def test_intervals_cover_in_every_bin_on_exchangeable_rows(with_u: bool) -> None:
    """Mean over draws of the coverage on fresh rows: at least nominal in each bin, and not far above it."""
    inside, total = np.zeros(5), np.zeros(5)
    by_u, rows_by_u = np.zeros(3), np.zeros(3)
    for seed in range(20):
        x, y, u = values(seed, 2_000)
        fitted = Intervals.fit(x, y, u if with_u else None)
        assert fitted is not None
        x, y, u = values(1_000 + seed, 2_000)
        hit = fitted.holds(fitted.of(x, u if with_u else None, x), y)
        which = np.searchsorted(fitted.edges, x, side="left")
        inside += np.bincount(which, weights=hit, minlength=5)
        total += np.bincount(which, minlength=5)
        by_u += np.bincount((3 * u).astype(int), weights=hit, minlength=3)
        rows_by_u += np.bincount((3 * u).astype(int), minlength=3)
    assert (inside / total > 0.9 - 0.015).all()
    assert (inside / total < 0.93).all()
    spread = np.ptp(by_u / rows_by_u)
    assert spread < 0.02 if with_u else spread > 0.08


def test_an_interval_is_wider_where_u_is_higher_and_stays_among_the_labels() -> None:
    x, y, u = values(0, 3_000)
    fitted = Intervals.fit(x, y, u)
    assert fitted is not None
    low, high = fitted.half_width(np.zeros(2), np.array([0.1, 0.9]))
    assert low < high
    found = fitted.of(x, u, x)
    assert found.min() >= y.min()
    assert found.max() <= y.max()
    with pytest.raises(ValueError, match="depend on the uncertainty"):
        fitted.of(x, None, x)
    assert fitted.sizes(found) == pytest.approx(found[:, 1] - found[:, 0])


def test_an_interval_holds_what_is_shown_and_sums_of_several_outputs() -> None:
    x, y, _ = values(1, 1_000)
    fitted = Intervals.fit(x, y, None)
    assert fitted is not None
    shown = np.full(1_000, 99.0)
    assert (fitted.of(x, None, shown)[:, 1] == 99).all()
    both = np.stack([x / 3, 2 * x / 3], axis=1)
    assert fitted.of(both, None, both) == pytest.approx(fitted.of(x, None, x))
    labels = np.stack([y / 4, 3 * y / 4], axis=1)
    assert fitted.holds(fitted.of(x, None, x), labels).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("case", ["constant", "two values", "many zeros"])
def test_tied_predictions_share_their_bins(case: str) -> None:
    rng = np.random.default_rng(0)
    x = {"constant": np.ones(500), "two values": rng.integers(0, 2, 500), "many zeros": rng.random(500).round() * 3}[
        case
    ].astype(np.float64)
    fitted = Intervals.fit(x, x + rng.normal(size=500), None)
    assert fitted is not None
    assert len(fitted.half_widths) == len(fitted.edges) + 1
    assert np.isfinite(fitted.half_width(x, None)).all()


def test_sets_cover_and_are_the_smallest_by_brute_force() -> None:
    covered = []
    for seed in range(100):
        fitted = Sets.fit(*classes(seed, 1_000))
        assert fitted is not None
        p, y = classes(1_000 + seed, 1_000)
        found = fitted.of(p, None, p)
        covered.append(fitted.holds(found, y).mean())
        assert (fitted.sizes(found) >= 1).all()
    assert np.mean(covered) == pytest.approx(0.9005, abs=0.004)  # a standard error of the mean is .0013
    p, y = classes(7, 4_000)
    fitted = Sets.fit(p, y)
    assert fitted is not None
    # A cell is taken in the order of its probability until 90 % of the true cells are in: that is least ambiguous.
    order = np.argsort(-p, axis=None)
    true = (np.arange(6) == y[:, None]).ravel()[order]
    needed = int(np.searchsorted(np.cumsum(true), np.ceil(0.9 * 4_001)) + 1)
    plain = 1 - p <= fitted.shortfall
    assert plain.sum() == needed


def test_a_set_holds_the_class_that_is_shown() -> None:
    p, y = classes(3, 500)
    fitted = Sets.fit(p, y)
    assert fitted is not None
    shown = np.roll(p, 1, axis=1)
    found = fitted.of(p, None, shown)
    assert found[np.arange(500), shown.argmax(axis=1)].all()


def test_few_rows_give_no_region() -> None:
    x, y, u = values(0, 99)
    assert Intervals.fit(x, y, u) is None
    assert Sets.fit(*classes(0, 99)) is None


@given(st.integers(9, 400), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_conformal_quantile_is_the_finite_sample_one(n: int, seed: int) -> None:
    residuals = np.random.default_rng(seed).random(n)
    q = conformal_quantile(residuals, 0.9)
    assert (residuals <= q).sum() >= 0.9 * (n + 1) - 1e-9
    assert (residuals < q).sum() < 0.9 * (n + 1)


def test_too_few_residuals_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="8 residuals"):
        conformal_quantile(np.arange(8.0), 0.9)


def test_json_gives_back_an_equal_region() -> None:
    x, y, u = values(0, 1_000)
    for region in (Intervals.fit(x, y, u), Intervals.fit(x, y, None), Sets.fit(*classes(0, 300))):
        assert region is not None
        assert region_from_dict(json.loads(json.dumps(region.to_dict(), allow_nan=False))) == region
    with pytest.raises(ValueError, match="unknown form 'ball'"):
        region_from_dict({"form": "ball"})
    with pytest.raises(TypeError):
        region_from_dict({"form": "sets", "radius": 1.0})
