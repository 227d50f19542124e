"""Interference, 8 columns: the weekly, bi-weekly and monthly waves of daily spend, and how they interfere.

log1p of daily spend of the last 26 weeks is split into its complex amplitudes Z(b) at 1/7, 1/14 and 1/28 cycles a day
by demodulation over blocks of 28 days, one starting each week (Bloomfield 1976, Fourier Analysis of Time Series, ch.
6); over 28 days the three waves and a constant are orthogonal, so that none leaks into another.

- *Phase coherence* of two waves n:m is |mean over b of exp(i(n φ₁ − m φ₂))| (n:m phase locking: Tass et al. 1998),
  less the mean of surrogates with as many purchase days at random on as many weeks: a few isolated purchases are
  coherent by construction. Surrogates take their values from the training dates.
- *Beat*: two waves near a week add up to one whose intensity |Z₇(b)|² swings at the difference of their frequencies
  (Rayleigh 1894, Theory of Sound, §30). Frequency: the largest peak of the intensity's least-squares periodogram,
  interpolated; depth: the fringe visibility (Imax − Imin)/(Imax + Imin) of the sinusoid there (Michelson 1890).
- *Phase drift* arg Σ Z(b + 4) Z*(b): how far the phase moves in 28 days, so how far the customer's period is from the
  nominal one (pulse-pair estimator: Miller & Rochwarger 1972). A calendar month gives −0.50 for the monthly wave.

Coherence needs 4 known whole weeks and at least one purchase (0 where it equals chance), beat and drift 12 weeks and 5
purchase days in the window; null below. Source: FEATURES §3.8.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

WEEKS, MIN_WEEKS, MIN_DAYS = 26, 12, 5
BLOCK = 4  # weeks of one amplitude: a whole number of each period
SURROGATES = 100  # a cell of the table of chance
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 182)  # purchase days
PERIODS = (7, 14, 28)  # days
BEATS = np.arange(1, 27) / 728.0  # cycles a day, 1/728 … 1/28: above it the block smooths the beat away
_LOWEST_BEAT = 0.8  # cycles within the blocks at hand below which a beat is a trend


def _column(measure: str, meaning: str, unit: str) -> Column:
    return Column(f"interference__{measure}_182d", meaning, unit, "182 days")


_COLUMNS = (
    _column(
        "coherence_weekly_biweekly",
        "1:2 phase locking of the weekly and the bi-weekly wave of spend less chance",
        "share",
    ),
    _column(
        "coherence_weekly_monthly",
        "1:4 phase locking of the weekly and the 28-day wave of spend less chance",
        "share",
    ),
    _column(
        "coherence_biweekly_monthly",
        "1:2 phase locking of the bi-weekly and the 28-day wave of spend less chance",
        "share",
    ),
    _column("beat_frequency", "frequency at which the intensity of the weekly wave swings most", "cycles per day"),
    _column("beat_depth", "visibility of that swing, (max − min) / (max + min)", "ratio"),
    _column("phase_drift_weekly", "movement of the phase of the weekly wave", "radians per 28 days"),
    _column("phase_drift_biweekly", "movement of the phase of the bi-weekly wave", "radians per 28 days"),
    _column("phase_drift_monthly", "movement of the phase of the 28-day wave", "radians per 28 days"),
)

_ANGLES = 2 * np.pi * np.arange(28)[None, :] / np.array(PERIODS)[:, None]
_WAVES = np.exp(-1j * _ANGLES)  # [3, 28], days from the oldest on


class Interference(FeatureGroup):
    """Coherence, beat and drift of three waves. Fitted: the coherence expected by chance."""

    name = "interference"
    description = "Phase coherence of weekly, bi-weekly and monthly spend, beat of the weekly wave, phase drift"
    columns = _COLUMNS
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Array `chance` float32 [WEEKS + 1, 7·WEEKS + 1, 3]: coherence of surrogates by weeks and purchase days."""
        values = np.concatenate([np.log1p(view.purchase_days.amount) for view in training.views])
        return GroupState(
            {"chance": chance(values if len(values) else np.ones(1), np.random.default_rng(training.seed))}
        )

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        days = view.purchase_days
        weeks = np.minimum(view.observed_days // 7, WEEKS)
        values = waves(days.start, days.days_ago, np.log1p(days.amount), weeks, _WAVES, BEATS)
        seen = values[:, 8].astype(np.int64)
        by_chance = state.arrays["chance"][weeks, seen].astype(np.float64)
        known = (weeks >= BLOCK) & (np.diff(days.start) > 0)
        beyond = np.where(seen[:, None] > 0, values[:, :3] - by_chance, 0.0)
        beyond = np.where(known[:, None], beyond, np.nan)
        return Values(np.column_stack([beyond, values[:, 3:8]]))


def chance(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean coherences of series with random purchase days and values drawn from `values`: float32 [WEEKS + 1,
    7·WEEKS + 1, 3] by known weeks and purchase days (linear between `COUNTS`); 1 where it is undefined."""
    table = np.ones((WEEKS + 1, 7 * WEEKS + 1, 3), dtype=np.float32)
    for weeks in range(BLOCK, WEEKS + 1):
        counts = [n for n in COUNTS if n < 7 * weeks] + [7 * weeks]
        days = [np.sort(rng.random((SURROGATES, 7 * weeks)).argsort(axis=1)[:, :n] + 1)[:, ::-1] for n in counts]
        start = np.append(0, np.cumsum(np.repeat(counts, SURROGATES)))
        ago = np.concatenate([chosen.ravel() for chosen in days])
        drawn = rng.choice(values, len(ago))
        found = waves(start, ago, drawn, np.full(len(start) - 1, weeks), _WAVES, BEATS[:0])[:, :3]
        means = np.nan_to_num(found.reshape(len(counts), SURROGATES, 3), nan=1.0).mean(axis=1)
        for k in range(3):
            table[weeks, 1 : 7 * weeks + 1, k] = np.interp(np.arange(1, 7 * weeks + 1), counts, means[:, k])
    return table


@njit(cache=True)
def _locking(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """|mean exp(i(n arg a − arg b))| over blocks in which both waves exist; 1 without any, as with one."""
    total, count = 0.0 + 0.0j, 0
    for k in range(a.size):
        if abs(a[k]) > 1e-9 and abs(b[k]) > 1e-9:
            phase = 1.0 + 0.0j
            for _ in range(n):
                phase *= a[k] / abs(a[k])
            total += phase * np.conj(b[k]) / abs(b[k])
            count += 1
    return abs(total) / count if count > 0 else 1.0


@njit(cache=True)
def _beat(intensity: np.ndarray, beats: np.ndarray) -> tuple[float, float]:
    """Frequency and visibility of the sinusoid that explains most of a series with one value a week (least squares with
    a constant); NaN where the series does not vary."""
    n = intensity.size
    mean = intensity.sum() / n
    spread = ((intensity - mean) ** 2).sum()
    frequency, depth, best = np.nan, np.nan, 0
    if mean <= 0 or spread <= 1e-18 * n * mean * mean:
        return frequency, depth
    explained = np.zeros(beats.size)
    for f in range(beats.size):
        if beats[f] * 7 * n < _LOWEST_BEAT:
            continue
        c0, s0, cc, ss, cs, xc, xs = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        turn = np.exp(2j * np.pi * beats[f] * 7)
        z = 1.0 + 0.0j
        for k in range(n):
            c0 += z.real
            s0 += z.imag
            cc += z.real * z.real
            ss += z.imag * z.imag
            cs += z.real * z.imag
            xc += (intensity[k] - mean) * z.real
            xs += (intensity[k] - mean) * z.imag
            z *= turn
        cc -= c0 * c0 / n
        ss -= s0 * s0 / n
        cs -= c0 * s0 / n
        det = cc * ss - cs * cs
        if det <= 1e-9 * n * n:
            continue
        a, b = (xc * ss - xs * cs) / det, (xs * cc - xc * cs) / det
        explained[f] = a * xc + b * xs
        if explained[f] > explained[best]:
            best = f
            level = mean - (a * c0 + b * s0) / n
            depth = min(np.sqrt(a * a + b * b) / level, 1.0) if level > 0 else 1.0
    if beats.size == 0 or explained[best] <= 0.0:
        return np.nan, np.nan
    frequency = beats[best]
    if 0 < best < beats.size - 1 and explained[best - 1] > 0:  # the top of the parabola through three points
        left, top, right = explained[best - 1], explained[best], explained[best + 1]
        if 2 * top - left - right > 0:
            frequency += 0.5 * (right - left) / (2 * top - left - right) * (beats[1] - beats[0])
    return frequency, depth


@njit(cache=True)
def waves(
    start: np.ndarray,
    days_ago: np.ndarray,
    values: np.ndarray,
    weeks: np.ndarray,
    turns: np.ndarray,
    beats: np.ndarray,
) -> np.ndarray:
    """The 8 measures of `_COLUMNS` (coherences as they are), then the purchase days in the known weeks: float64
    [customers, 9], of one value a purchase day (0 on the others)."""
    customers = start.size - 1
    result = np.full((customers, 9), np.nan)
    week_of = np.zeros((3, WEEKS), dtype=np.complex128)
    for i in range(customers):
        n = weeks[i]
        result[i, 8] = 0
        if n < BLOCK:
            continue
        week_of[:] = 0.0
        seen = 0
        for j in range(start[i], start[i + 1]):
            day = 7 * n - days_ago[j]  # from the oldest known day on
            if day >= 0:
                seen += 1
                for p in range(3):
                    week_of[p, day // 7] += values[j] * turns[p, day % 28]
        result[i, 8] = seen
        if seen == 0:
            continue
        blocks = n - BLOCK + 1
        z = np.zeros((3, blocks), dtype=np.complex128)
        for p in range(3):
            for k in range(blocks):
                for w in range(BLOCK):
                    z[p, k] += week_of[p, k + w]
        result[i, 0] = _locking(z[1], z[0], 2)
        result[i, 1] = _locking(z[2], z[0], 4)
        result[i, 2] = _locking(z[2], z[1], 2)
        if seen < MIN_DAYS or n < MIN_WEEKS:
            continue
        intensity = np.zeros(blocks)
        for k in range(blocks):
            intensity[k] = z[0, k].real ** 2 + z[0, k].imag ** 2
        result[i, 3], result[i, 4] = _beat(intensity, beats)
        for p in range(3):
            moved = 0.0 + 0.0j
            for k in range(blocks - BLOCK):
                moved += z[p, k + BLOCK] * np.conj(z[p, k])
            if abs(moved) > 1e-12:
                result[i, 5 + p] = np.arctan2(moved.imag, moved.real)
    return result


GROUP = Interference()
