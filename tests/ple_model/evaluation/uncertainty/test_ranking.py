"""The statistic agrees with plain loops, and sees what is new in a signal only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata

from ple_model.evaluation.uncertainty.ranking import error_ranking, level_bins, ranking_statistic
from ple_model.tasks import KINDS


def rows(seed: int, n: int = 3_000, customers: int = 400) -> dict[str, np.ndarray]:
    """Calibrated probabilities with outcomes, and an error of a value whose noise varies at equal prediction."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 6, n)
    noise = rng.uniform(0.5, 2.0, n)
    value = rng.normal(size=n)
    return {
        "p": p,
        "y": (rng.random(n) < p).astype(np.float64),
        "value": value,
        "noise": noise,
        "miss": np.abs(rng.normal(size=n) * noise * np.exp(0.3 * value)),
        "customer": rng.integers(0, customers, n),
    }


def by_hand(signal: np.ndarray, excess: np.ndarray, level: np.ndarray, times: np.ndarray) -> float:
    """Each bin's partial correlation by least squares on repeated rows, averaged by their number."""
    bins = level_bins(level)
    total, weight = 0.0, 0.0
    for one in np.unique(bins):
        inside = bins == one
        repeat = times[inside]
        ranks, e, x = (np.repeat(v, repeat) for v in (rankdata(signal[inside]), excess[inside], level[inside]))
        design = np.stack([np.ones(len(x)), x], axis=1)
        left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (ranks, e)]
        total += pearsonr(*left).statistic * len(x)
        weight += len(x)
    return total / weight


@pytest.mark.parametrize("seed", [0, 1])
def test_the_statistic_agrees_with_least_squares_and_repeated_rows(seed: int) -> None:
    r = rows(seed)
    excess = (r["y"] - r["p"]) ** 2 - r["p"] * (1 - r["p"])
    signal = r["noise"] + r["p"]
    statistic = ranking_statistic(signal, excess, r["p"], r["customer"])
    counts = np.random.default_rng(9).multinomial(400, np.full(400, 1 / 400), size=3).astype(np.float64)
    found = statistic(np.concatenate([np.ones((1, 400)), counts]))
    assert found[0] == pytest.approx(by_hand(signal, excess, r["p"], np.ones(3_000, dtype=int)), abs=1e-9)
    for drawn, times in zip(found[1:], counts, strict=True):
        assert drawn == pytest.approx(by_hand(signal, excess, r["p"], times[r["customer"]].astype(int)), abs=1e-9)


@pytest.mark.parametrize("restated", ["variance", "entropy", "probability", "steps"])
def test_a_signal_that_restates_a_probability_says_nothing(restated: str) -> None:
    """Over 12 draws its intervals hold 0 as often as they state, although the raw rank correlation is overwhelming."""
    inside = 0
    for seed in range(12):
        r = rows(seed)
        p = r["p"]
        signal = {
            "variance": p * (1 - p),
            "entropy": -p * np.log(p) - (1 - p) * np.log1p(-p),
            "probability": -p,
            "steps": np.floor(20 * p),
        }[restated]
        binary = KINDS["binary"]
        errors = binary.errors(p, r["y"])
        assert errors is not None
        found = error_ranking(signal, errors - binary.expected_errors(p), binary.level(p), r["customer"])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0 <= found.high
        assert abs(pearsonr(rankdata(signal), errors).statistic) > 0.25
    assert inside >= 10


def test_noise_that_varies_at_equal_prediction_is_seen_with_its_sign() -> None:
    r = rows(3)
    found = error_ranking(r["noise"], r["miss"], r["value"], r["customer"])
    assert found.low is not None
    assert found.low > 0.1
    inverted = error_ranking(-r["noise"], r["miss"], r["value"], r["customer"])
    assert inverted.high is not None
    assert inverted.high < -0.1
    restated = error_ranking(np.exp(r["value"]), r["miss"], r["value"], r["customer"])
    assert restated.estimate == pytest.approx(0, abs=0.03)


def test_a_binary_model_that_is_too_sure_where_the_signal_is_high_is_seen() -> None:
    rng = np.random.default_rng(0)
    p, sure = rng.uniform(0.02, 0.98, 6_000), rng.random(6_000)
    y = rng.random(6_000) < p + (0.5 - p) * 0.6 * (sure > 0.5)
    found = error_ranking(sure, (y - p) ** 2 - p * (1 - p), p, np.arange(6_000))
    assert found.low is not None
    assert found.low > 0


def test_rows_of_one_customer_widen_the_interval() -> None:
    r = rows(4, n=400)
    alone = error_ranking(r["noise"], r["miss"], r["value"], np.arange(400))
    times = {name: np.tile(values, 8) for name, values in r.items()}
    together = error_ranking(times["noise"], times["miss"], times["value"], np.tile(np.arange(400), 8))
    assert None not in (alone.low, alone.high, together.low, together.high)
    assert (together.high - together.low) == pytest.approx(alone.high - alone.low, rel=0.25)  # type: ignore[operator]


def test_equal_levels_share_a_bin_and_few_rows_make_few_bins() -> None:
    assert set(level_bins(np.zeros(500))) == {0}
    assert len(set(level_bins(np.arange(180.0)))) == 3
    level = np.concatenate([np.zeros(900), np.arange(100.0) + 1])
    assert len(set(level_bins(level)[:900])) == 1


def test_where_nothing_varies_there_is_a_reason_instead_of_a_number() -> None:
    r = rows(5, n=200)
    assert "does not vary" in error_ranking(np.ones(200), r["miss"], r["value"], r["customer"]).reason
    assert "does not vary" in error_ranking(r["noise"], np.ones(200), r["value"], r["customer"]).reason
    assert "20 rows" in error_ranking(r["noise"][:20], r["miss"][:20], r["value"][:20], r["customer"][:20]).reason
    one = error_ranking(r["noise"], r["miss"], r["value"], np.zeros(200, dtype=int))
    assert one.estimate is not None
    assert one.low is None
