"""Each measure of the daily series against a library, a closed form or brute force."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations

import numpy as np
import polars as pl
import pytest
from scipy import linalg, stats

from feature_assets.events.view import View
from feature_assets.groups.model_derived import series_dynamics
from feature_assets.kernels.series import DAYS, LJUNG_BOX_LAGS, MEASURES, SHORTEST_SEGMENT, series_measures
from tests.deliveries import synthetic
from tests.feature_assets import plain_view


def _measured(series: list[np.ndarray]) -> dict[str, np.ndarray]:
    """`series_measures` of daily log spend, oldest day first."""
    start, ago, logs = [0], [], []
    for x in series:
        used = np.flatnonzero(x > 0)
        ago += (len(x) - used).tolist()
        logs += x[used].tolist()
        start.append(len(ago))
    values = series_measures(
        np.array(start), np.array(ago, dtype=np.int32), np.array(logs), np.array([len(x) for x in series])
    )
    return dict(zip(MEASURES, values.T, strict=True))


def _random(n: int, seed: int, rate: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    weekly = 1 + np.sin(2 * np.pi * np.arange(n) / 7)
    return np.where(rng.random(n) < rate * weekly, np.log1p(rng.gamma(2.0, 20.0, n)), 0.0)


SERIES = [_random(180, 1), _random(180, 2, 0.1), _random(120, 3), _random(77, 4, 0.7), _random(56, 5)]


@pytest.fixture(scope="module")
def found() -> dict[str, np.ndarray]:
    return _measured(SERIES)


@pytest.mark.parametrize("i", range(len(SERIES)))
def test_distribution(found: dict[str, np.ndarray], i: int) -> None:
    x = SERIES[i]
    spend = np.expm1(x)
    gini = np.abs(spend[:, None] - spend[None, :]).mean() / (2 * spend.mean())
    assert found["spend_gini"][i] == pytest.approx(gini, rel=1e-9)
    active = x[x > 0]
    assert found["spend_l_skewness"][i] == pytest.approx(stats.lmoment(active, order=3), rel=1e-8)
    assert found["spend_l_kurtosis"][i] == pytest.approx(stats.lmoment(active, order=4), rel=1e-8)
    weeks = (x[len(x) % 7 :] > 0).reshape(-1, 7).sum(axis=1)
    assert found["weekly_dispersion"][i] == pytest.approx(weeks.var(ddof=1) / weeks.mean(), rel=1e-9)


@pytest.mark.parametrize("i", range(len(SERIES)))
def test_frequency(found: dict[str, np.ndarray], i: int) -> None:
    x = SERIES[i]
    padded = np.concatenate([np.zeros(DAYS - len(x)), x - x.mean()])
    power = np.abs(np.fft.rfft(padded))[1:] ** 2
    f = np.arange(1, DAYS // 2 + 1) / DAYS
    share = power / power.sum()
    centroid = (share * f).sum()
    assert found["spectral_spread"][i] == pytest.approx(np.sqrt((share * (f - centroid) ** 2).sum()), rel=1e-9)
    assert found["spectral_roll_off"][i] == pytest.approx(f[np.searchsorted(np.cumsum(share), 0.85)])
    assert found["spectral_flatness"][i] == pytest.approx(stats.gmean(power) / power.mean(), rel=1e-6)
    slope = stats.linregress(np.log(f), np.log(power)).slope
    assert found["spectral_slope"][i] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def _cost(x: np.ndarray) -> float:
    return float(((x - x.mean()) ** 2).sum())


def _best_segmentation(x: np.ndarray, penalty: float, most: int) -> tuple[int, ...]:
    """The best of all segmentations with at most `most` changes, by trying them."""
    places = range(SHORTEST_SEGMENT, len(x) - SHORTEST_SEGMENT + 1)
    best, found = _cost(x), ()
    for count in range(1, most + 1):
        for cuts in combinations(places, count):
            bounds = (0, *cuts, len(x))
            if min(np.diff(bounds)) < SHORTEST_SEGMENT:
                continue
            value = sum(_cost(x[a:b]) for a, b in pairwise(bounds)) + count * penalty
            if value < best - 1e-9:
                best, found = value, cuts
    return found


@pytest.mark.parametrize("shift", [0.0, 1.5, 4.0])
def test_change_points_are_those_of_all_segmentations_tried(shift: float) -> None:
    rng = np.random.default_rng(int(shift * 2))
    x = np.abs(2.0 + rng.normal(0, 0.7, 60) + np.where(np.arange(60) < 23, 0.0, shift) * (np.arange(60) < 44)) + 0.01
    penalty = 2 * np.log(60) * np.mean(np.diff(x) ** 2) / 2
    cuts = _best_segmentation(x, penalty, 2)
    found = _measured([x])
    assert found["change_points"][0] == len(cuts)
    assert found["regime_age"][0] == 60 - max(cuts, default=0)
    assert len(cuts) == (2 if shift == 4.0 else len(cuts))


def test_cusum_has_the_sign_and_size_of_the_change() -> None:
    x = np.concatenate([np.full(90, 1.0), np.full(90, 3.0)])
    found = _measured([x, x[::-1].copy()])["cusum"]
    deviations = x - x.mean()
    expected = np.abs(np.cumsum(deviations)).max() / (x.std() * np.sqrt(180))
    assert found == pytest.approx([expected, -expected], rel=1e-9)


@pytest.mark.parametrize("i", range(len(SERIES)))
def test_autocorrelation(found: dict[str, np.ndarray], i: int) -> None:
    x = SERIES[i] - SERIES[i].mean()
    n = len(x)
    rho = np.array([(x[: n - k] * x[k:]).sum() for k in range(n // 2)]) / (x * x).sum()
    lags = np.arange(1, LJUNG_BOX_LAGS + 1)
    assert found["ljung_box"][i] == pytest.approx(
        n * (n + 2) * (rho[lags] ** 2 / (n - lags)).sum() / LJUNG_BOX_LAGS, rel=1e-9
    )
    partial = np.linalg.solve(linalg.toeplitz(rho[:7]), rho[1:8])[-1]
    assert found["partial_autocorrelation_lag7"][i] == pytest.approx(partial, rel=1e-6, abs=1e-9)
    stop = 1 + int(np.argmax(rho[1:] <= 0))
    assert found["decorrelation_time"][i] == pytest.approx(1 + 2 * rho[1:stop].sum(), rel=1e-9)
    profile = np.cumsum(x)
    sizes = [4, 8, 16, 28]
    levels = []
    for s in sizes:
        boxes = profile[n - n // s * s :].reshape(-1, s)
        rest = [box - np.polyval(np.polyfit(np.arange(s), box, 1), np.arange(s)) for box in boxes]
        levels.append(0.5 * np.log(np.mean(np.square(rest))))
    assert found["dfa_exponent"][i] == pytest.approx(np.polyfit(np.log(sizes), levels, 1)[0], rel=1e-6)


def _lempel_ziv_words(bits: str) -> int:
    """Exhaustive parsing: a word ends when it is not found in what precedes its last letter."""
    words, at = 0, 0
    while at < len(bits):
        length = 1
        while at + length <= len(bits) and bits[at : at + length] in bits[: at + length - 1]:
            length += 1
        words += 1
        at += length
    return words


@pytest.mark.parametrize("i", range(len(SERIES)))
def test_complexity(found: dict[str, np.ndarray], i: int) -> None:
    x = SERIES[i]
    n = len(x)
    orders = dict.fromkeys(permutations(range(4)), 0)
    for d in range(n - 3):
        orders[tuple(np.argsort(x[d : d + 4], kind="stable").tolist())] += 1
    counts = np.array(list(orders.values()))
    assert found["permutation_entropy"][i] == pytest.approx(stats.entropy(counts) / np.log(24), rel=1e-9)
    r = 0.2 * x.std()
    alike = {
        m: sum(np.abs(x[a : a + m] - x[b : b + m]).max() <= r for a, b in combinations(range(n - 2), 2)) for m in (2, 3)
    }
    assert found["sample_entropy"][i] == pytest.approx(np.log(alike[2] / alike[3]), rel=1e-9)
    words = _lempel_ziv_words("".join("1" if v > 0 else "0" for v in x))
    assert found["lempel_ziv"][i] == pytest.approx(words * np.log2(n) / n, rel=1e-9)


def test_noise_and_trends_are_told_apart() -> None:
    """Known values: white noise has a flat spectrum and a DFA exponent of 1/2, a random walk one of 3/2."""
    rng = np.random.default_rng(0)
    noise = [np.abs(rng.normal(5, 1, 180)) + 0.1 for _ in range(60)]
    walks = [np.cumsum(rng.normal(0, 1, 180)) for _ in range(60)]
    of_noise, of_walks = _measured(noise), _measured([w - w.min() + 0.1 for w in walks])
    assert of_noise["dfa_exponent"].mean() == pytest.approx(0.5, abs=0.08)
    assert of_walks["dfa_exponent"].mean() == pytest.approx(1.5, abs=0.12)
    assert of_noise["ljung_box"].mean() == pytest.approx(1.0, abs=0.15)
    assert of_noise["spectral_slope"].mean() == pytest.approx(0.0, abs=0.1)
    assert of_walks["spectral_slope"].mean() < -1.5
    assert of_noise["change_points"].mean() < 0.2 < of_walks["change_points"].mean()


def test_undefined_where_nothing_can_be_said() -> None:
    short, empty, constant = _random(55, 1), np.zeros(180), np.full(180, 2.0)
    one = np.zeros(180)
    one[100] = 3.0
    found = _measured([short, empty, constant, one])
    values = np.array([found[name] for name in MEASURES])
    assert np.isnan(values[:, :2]).all()
    assert np.isnan(found["cusum"][2])
    assert found["spend_gini"][2] == pytest.approx(0.0, abs=1e-12)
    assert found["spend_gini"][3] == pytest.approx(179 / 180)
    assert np.isnan(found["spend_l_skewness"][3])
    assert not np.isinf(values).any()


def test_group_reads_log_spend_of_the_known_days() -> None:
    tables = synthetic.tables()
    view = View(tables, synthetic.AS_OF)
    frame = series_dynamics.GROUP.compute(view, None, {})
    lines = plain_view.purchases(tables, synthetic.AS_OF).filter(pl.col("row") == 7)
    first = view.customers["joined_on"][7]
    known = min((synthetic.AS_OF - max(first, tables.dataset.covers_from)).days, DAYS)
    spend = np.zeros(known)
    for ago, amount in lines.select("days_ago", "amount").rows():
        if ago <= known:
            spend[known - ago] += amount
    expected = _measured([np.log1p(spend)])
    for name in MEASURES:
        column = frame[f"series_dynamics__{name}_180d"][7]
        assert column == pytest.approx(expected[name][0], rel=1e-4), name
