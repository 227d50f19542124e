"""The alarm on simulated nights: how often it is false over all columns, and what it finds."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.monitoring.alarm import Judged, accepted, judge
from pipeline.monitoring.distances import noise, stability_index
from pipeline.settings import DriftLimits

LIMITS = DriftLimits()
COLUMNS, BINS, ROWS = 200, 11, 600
NIGHTS = 28


def chances(rng: np.random.Generator) -> NDArray:
    """[C, B] shares of the bins: tenths, and some share of missing values."""
    missing = rng.uniform(0.0, 0.3, (COLUMNS, 1))
    return np.concatenate([np.repeat((1 - missing) / 10, 10, axis=1), missing], axis=1)


def tilted(shares: NDArray, shift: float) -> NDArray:
    """Shares of a normal variable in its tenths that moves by `shift` standard deviations; missing ones stay."""
    from scipy.stats import norm

    ends = norm.cdf(norm.ppf(np.linspace(0, 1, 11)) - shift)
    return np.concatenate([(1 - shares[:, -1:]) * np.diff(ends), shares[:, -1:]], axis=1)


def simulated(seed: int, shift_from: int = NIGHTS, shift: float = 0.0, wave: float = 0.2) -> tuple[NDArray, NDArray]:
    """Index and noise [N, C] of nights with a weekly wave of so many standard deviations; column 3 moves."""
    rng = np.random.default_rng(seed)
    shares = chances(rng)
    reference = rng.multinomial(ROWS, shares).astype(float)
    index, chance = [], []
    for night in range(NIGHTS):
        own = tilted(shares, wave * np.sin(2 * np.pi * night / 7))
        if night >= shift_from:
            own[3] = tilted(shares, shift)[3]
        counts = rng.multinomial(ROWS, own).astype(float)
        index.append(stability_index(counts, reference))
        chance.append(noise(counts, reference, LIMITS.false_alarms))
    return np.array(index), np.array(chance)


def nightly(index: NDArray, chance: NDArray, limits: DriftLimits = LIMITS) -> list[Judged]:
    """The judgement of every night by those before it."""
    known = np.zeros(index.shape, dtype=bool)
    return [judge(index[: n + 1], chance[: n + 1], known[: n + 1], limits) for n in range(len(index))]


@pytest.mark.parametrize(("wave", "nights_in_a_row"), [(0.0, 1), (0.2, 2), (0.4, 2)])
def test_false_alarms_over_all_columns_are_within_the_stated_rate(wave: float, nights_in_a_row: int) -> None:
    limits = LIMITS.model_copy(update={"nights_in_a_row": nights_in_a_row})
    alarms = [
        judged.alarms.any()
        for seed in range(12)
        for judged in nightly(*simulated(seed, wave=wave), limits)[limits.least_nights :]
    ]
    assert np.mean(alarms) <= limits.false_alarms, f"{np.mean(alarms):.3f} of {len(alarms)} nights"


def test_a_shift_of_six_tenths_of_a_standard_deviation_is_found_within_three_nights_and_named() -> None:
    found = 0
    for seed in range(10):
        judged = nightly(*simulated(seed, shift_from=14, shift=0.6))
        assert not any(night.alarms.any() for night in judged[:14])
        found += any(night.alarms[3] for night in judged[14:17])
        assert all(set(np.flatnonzero(night.alarms)) <= {3} for night in judged)
    assert found == 10


def one(values: list[float], limits: DriftLimits = LIMITS, until: date | None = None) -> Judged:
    """The judgement of one column whose sampling noise is nothing."""
    index = np.array(values)[:, None]
    nights = [date(2018, 1, 1) + timedelta(days=n) for n in range(len(values))]
    known = accepted(nights, ["spend"], {"spend": until} if until else {})
    return judge(index, np.zeros(index.shape), known, limits)


USUAL = [0.02, 0.04, 0.03, 0.02, 0.03, 0.02, 0.04]


def test_only_a_large_and_new_distance_that_lasts_alarms() -> None:
    assert one([*USUAL, 0.3, 0.3]).alarms == [True]
    assert one([*USUAL, 0.3, 0.3]).earlier == pytest.approx(0.04), "a night that is over is not usual"
    assert one([*USUAL, 0.3]).in_a_row == [1], "it has not lasted yet"
    assert not one([*USUAL, 0.3]).alarms
    assert one([*USUAL, 0.3], LIMITS.model_copy(update={"nights_in_a_row": 1})).alarms
    assert not one([*USUAL, 0.3, 0.02, 0.3]).alarms, "not in a row"
    assert not one([*USUAL, 0.09, 0.09]).alarms, "below the floor"
    assert not one([*USUAL[:-1], 0.25, 0.3, 0.3]).alarms, "an earlier night had nearly as much"
    assert not one([*USUAL[1:], 0.3, 0.3]).alarms, "too few earlier nights"
    assert one([*USUAL, *[0.3] * 10]).in_a_row == [10], "what lasts goes on alarming"


def test_what_an_operator_accepts_becomes_usual() -> None:
    assert not one([*USUAL, 0.3, 0.3, 0.3], until=date(2018, 1, 8)).alarms
    assert one([*USUAL, 0.3, 0.6, 0.6], until=date(2018, 1, 8)).alarms, "up to that date only"


def test_a_night_without_a_column_neither_alarms_nor_counts_as_usual() -> None:
    assert not one([*USUAL, 0.3, np.nan]).alarms
    assert not one([*[np.nan] * 7, 0.3, 0.3]).alarms
