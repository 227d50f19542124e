"""Series and circles of the base group against numpy, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from feature_assets.groups.base import temporal
from feature_assets.groups.base.temporal import DAYS, WEEKS, autocorrelation, centred, slope, slope_change, spectrum

ALL = np.ones((1, DAYS), dtype=bool)


@pytest.fixture
def noise() -> tuple[np.ndarray, np.ndarray]:
    """Series of 20 customers, known for 8 to 26 weeks."""
    rng = np.random.default_rng(8)
    known = np.arange(DAYS) >= DAYS - 7 * rng.integers(8, 27, 20)[:, None]
    return np.where(known, rng.poisson(0.4, (20, DAYS)) * 1.0, 0.0), known


def test_autocorrelation(noise: tuple[np.ndarray, np.ndarray]) -> None:
    series, known = noise
    for lag in (1, 7, 28):
        got = autocorrelation(centred(series, known), lag)
        for i in range(len(series)):
            x = series[i, known[i]]
            d = x - x.mean()
            assert got[i] == pytest.approx(np.sum(d[lag:] * d[:-lag]) / np.sum(d * d), abs=1e-12)


def test_spectrum_equals_the_periodogram(noise: tuple[np.ndarray, np.ndarray]) -> None:
    series, known = noise
    peak, top, entropy, weekly, slow, centroid = spectrum(centred(series, known))
    for i in range(len(series)):
        x = np.where(known[i], series[i] - series[i, known[i]].mean(), 0.0)
        frequency, power = signal.periodogram(x, detrend=False)
        power[-1] *= 2  # scipy's one-sided density halves the Nyquist frequency
        frequency, share = frequency[1:], power[1:] / power[1:].sum()
        assert 1 / peak[i] == pytest.approx(frequency[np.argmax(share)])
        assert top[i] == pytest.approx(share.max())
        assert entropy[i] == pytest.approx(-np.sum(share * np.log(share)) / np.log(DAYS // 2))
        assert weekly[i] == pytest.approx(share[np.isin(np.arange(1, 92), temporal.WEEKLY_BINS)].sum())
        assert slow[i] == pytest.approx(share[1 / frequency >= 30 - 1e-9].sum())
        assert centroid[i] == pytest.approx(np.sum(share * frequency))


def test_spectrum_of_a_weekly_shopper_peaks_at_seven_days() -> None:
    series = (np.arange(DAYS) % 7 == 2).astype(np.float64)[None]
    peak, _, _, weekly, _, _ = spectrum(centred(series, ALL))
    assert peak == pytest.approx(7.0)  # its harmonics have the same power: the longest period is told
    assert weekly == pytest.approx(1.0)
    assert autocorrelation(centred(series, ALL), 7) == pytest.approx(25 / 26, abs=0.01)


@pytest.mark.parametrize("series", [np.zeros((1, DAYS)), np.full((1, DAYS), 0.1)])
def test_a_constant_series_has_no_rhythm(series: np.ndarray) -> None:
    d = centred(series, ALL)
    assert np.isnan([*spectrum(d), autocorrelation(d, 7), *temporal.strengths(d, ALL)]).all()


def test_one_visit_has_no_peak_period() -> None:
    series = np.zeros((1, DAYS))
    series[0, 50] = 1.0
    peak, _, entropy, _, _, _ = spectrum(centred(series, ALL))
    assert np.isnan(peak)
    assert entropy == pytest.approx(1.0)


def test_strengths_equal_a_classical_decomposition(noise: tuple[np.ndarray, np.ndarray]) -> None:
    series, known = noise
    trend_strength, weekday_strength = temporal.strengths(centred(series, known), known)
    for i in range(len(series)):
        x = series[i, known[i]]
        trend = np.convolve(x, np.ones(7) / 7, mode="valid")
        inner = x[3:-3]
        weekday = (np.arange(len(x)) % 7)[3:-3]
        season = np.array([np.mean((inner - trend)[weekday == d]) for d in range(7)])
        season = (season - season.mean())[weekday]
        rest = np.var(inner - trend - season)
        assert trend_strength[i] == pytest.approx(max(0, 1 - rest / np.var(inner - season)), abs=1e-9)
        assert weekday_strength[i] == pytest.approx(max(0, 1 - rest / np.var(inner - trend)), abs=1e-9)


def test_strengths_tell_a_trend_from_a_weekday_pattern() -> None:
    days = np.arange(DAYS)
    noise = np.random.default_rng(2).normal(0, 0.1, DAYS)
    rising, weekly = (days / 50 + noise)[None], (3.0 * (days % 7 == 5) + noise)[None]
    trend, weekday = temporal.strengths(centred(rising, ALL), ALL)
    assert trend > 0.95 > 0.3 > weekday
    trend, weekday = temporal.strengths(centred(weekly, ALL), ALL)
    assert weekday > 0.95 > 0.3 > trend


def test_slopes_equal_polyfit_and_need_every_week() -> None:
    rng = np.random.default_rng(4)
    weekly = rng.gamma(2.0, 30.0, (3, WEEKS))
    known = np.ones((3, WEEKS), dtype=bool)
    known[1, : WEEKS - 12] = False
    weekly[2, -8:] = 0.0
    got, change = slope(weekly, known, 8), slope_change(weekly, known, 8)
    recent, before = np.polyfit(np.arange(8), weekly[0, -8:], 1)[0], np.polyfit(np.arange(8), weekly[0, -16:-8], 1)[0]
    assert got[0] == pytest.approx(recent / weekly[0, -8:].mean())
    assert change[0] == pytest.approx((recent - before) / weekly[0, -16:].mean())
    assert np.isfinite(got[1])
    assert np.isnan(change[1])
    assert np.isnan(got[2])
