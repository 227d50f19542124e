"""Kernels of the base group against numpy and scipy, customer by customer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from feature_assets.kernels import categories, windows

WINDOWS = np.array([7, 30, 90])
CUSTOMERS, CODES = 60, 5


class Drawn:
    """Random events: many customers with few or none, some with many; codes with unknown ones among them."""

    def __init__(self, seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 40, CUSTOMERS)
        counts[:5] = (0, 1, 2, 3, 4)
        self.start = np.concatenate([[0], np.cumsum(counts)])
        self.days_ago = np.concatenate([np.sort(rng.integers(1, 140, n))[::-1] for n in counts]).astype(np.int64)
        self.values = np.round(rng.lognormal(2, 1, self.days_ago.size), 2)
        self.codes = rng.integers(-1, CODES, self.days_ago.size).astype(np.int32)

    def slices(self) -> Iterator[tuple[int, int, slice, np.ndarray]]:
        """Customer, window number, the customer's slice and whether its events lie in the window."""
        for i in range(CUSTOMERS):
            own = slice(self.start[i], self.start[i + 1])
            for w, window in enumerate(WINDOWS):
                yield i, w, own, self.days_ago[own] <= window


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return Drawn()


def test_sums_counts_and_resultants(drawn: Drawn) -> None:
    sums = windows.window_sums(drawn.start, drawn.days_ago, drawn.values, WINDOWS)
    counts = windows.window_counts(drawn.start, drawn.days_ago, WINDOWS)
    resultants = windows.window_resultants(drawn.start, drawn.days_ago, drawn.values, WINDOWS)
    for i, w, own, inside in drawn.slices():
        values = drawn.values[own][inside]
        assert counts[i, w] == values.size
        assert sums[i, w] == pytest.approx(values.sum())
        assert resultants[i, w] == pytest.approx([np.cos(values).sum(), np.sin(values).sum()], abs=1e-9)


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")
def test_moments_equal_numpy_and_scipy(drawn: Drawn) -> None:
    moments = windows.window_moments(drawn.start, drawn.days_ago, drawn.values, WINDOWS)
    for i, w, own, inside in drawn.slices():
        x = drawn.values[own][inside]
        expected = np.full(len(windows.MOMENTS), np.nan)
        if x.size:
            expected[0] = x.mean()
            expected[4:8] = (*np.quantile(x, [0.25, 0.5, 0.9]), x.max())
        if x.size >= 2:
            expected[1] = x.std(ddof=1)
            expected[8] = x.std(ddof=1) / x.mean()
        if x.size >= 3 and np.ptp(x) > 0:
            expected[2] = stats.skew(x)
        if x.size >= 4 and np.ptp(x) > 0:
            expected[3] = stats.kurtosis(x)
        np.testing.assert_allclose(moments[i, w], expected, rtol=1e-9, atol=1e-9)


def test_moments_of_equal_values_have_no_shape() -> None:
    start, days_ago = np.array([0, 5]), np.array([5, 4, 3, 2, 1])
    moments = windows.window_moments(start, days_ago, np.full(5, 0.1), np.array([7]))[0, 0]
    named = dict(zip(windows.MOMENTS, moments, strict=True))
    assert np.isnan([named["skew"], named["kurtosis"]]).all()
    assert named["std"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(windows.window_moments(start, days_ago, np.zeros(5), np.array([7]))[0, 0, 8])  # cv of zeros


def test_dispersion_is_the_share_of_differing_pairs(drawn: Drawn) -> None:
    dispersion = windows.window_dispersion(drawn.start, drawn.days_ago, drawn.codes, CODES, WINDOWS)
    for i, w, own, inside in drawn.slices():
        codes = drawn.codes[own][inside]
        codes = codes[codes >= 0]
        pairs = [a != b for k, a in enumerate(codes) for b in codes[k + 1 :]]
        expected = np.mean(pairs) if pairs else np.nan
        assert dispersion[i, w] == pytest.approx(expected, nan_ok=True)


def test_category_totals(drawn: Drawn) -> None:
    sums, counts = categories.category_totals(drawn.start, drawn.days_ago, drawn.codes, drawn.values, CODES, WINDOWS)
    for i, w, own, inside in drawn.slices():
        for code in range(CODES):
            chosen = drawn.values[own][inside & (drawn.codes[own] == code)]
            assert counts[w, i, code] == chosen.size
            assert sums[w, i, code] == pytest.approx(chosen.sum())


def test_main_category_and_variety_of_visits() -> None:
    visit = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    codes = np.array([1, 0, 1, 2, 0, -1, 4, 3], dtype=np.int32)
    values = np.array([1.0, 1.5, 1.0, 2.0, 2.0, 9.0, 0.0, 0.0])
    main, variety = categories.visit_categories(visit, codes, values, 4, CODES)
    assert main.tolist() == [1, 2, -1, 4]  # the first of equals; none known; nothing spent
    assert variety.tolist() == [2, 2, 0, 2]


def test_switches(drawn: Drawn) -> None:
    switches = categories.window_switches(drawn.start, drawn.days_ago, drawn.codes.astype(np.int64), WINDOWS)
    for i, w, own, inside in drawn.slices():
        codes = drawn.codes[own][inside]
        codes = codes[codes >= 0]
        expected = np.mean(codes[1:] != codes[:-1]) if codes.size >= 2 else np.nan
        assert switches[i, w] == pytest.approx(expected, nan_ok=True)


def test_novelty(drawn: Drawn) -> None:
    novel = categories.novelty(drawn.start, drawn.days_ago, drawn.codes, CODES, WINDOWS)
    for i, w, own, inside in drawn.slices():
        codes, known = drawn.codes[own], drawn.codes[own] >= 0
        now, before = set(codes[inside & known]), set(codes[~inside & known])
        expected = len(now - before) / len(now) if now and before else np.nan
        assert novel[i, w] == pytest.approx(expected, nan_ok=True)


def test_drift_is_jensen_shannon(drawn: Drawn) -> None:
    pairs = np.array([[7, 30], [30, 90]])
    drift = categories.mix_drift(drawn.start, drawn.days_ago, drawn.codes, drawn.values, CODES, pairs)
    for i in range(CUSTOMERS):
        own = slice(drawn.start[i], drawn.start[i + 1])
        codes, days_ago, values = drawn.codes[own], drawn.days_ago[own], drawn.values[own]
        for k, (a, b) in enumerate(pairs):
            recent, before = (
                np.array([values[chosen & (codes == c)].sum() for c in range(CODES)])
                for chosen in (days_ago <= a, (days_ago > a) & (days_ago <= b))
            )
            defined = recent.sum() > 0 and before.sum() > 0
            expected = jensenshannon(recent, before, base=2) ** 2 if defined else np.nan
            assert drift[i, k] == pytest.approx(expected, nan_ok=True, abs=1e-12)
