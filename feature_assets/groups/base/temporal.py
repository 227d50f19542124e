"""Temporal, 60 columns: times of day, week and month of the visits, and the rhythm of the daily series.

Circular variables (hour, weekday, day of month) are summarised by the mean resultant length and the sine and cosine of
the mean direction. The daily series is the last 26 weeks: visits, and log1p of the amount spent; before the customer's
first day it is unknown, not zero. Whole weeks only, at least eight of them. Source: FEATURES §3.1.
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.numbers import sum_at
from feature_assets.group import Column
from feature_assets.groups.base.history import History
from feature_assets.kernels.windows import window_counts, window_resultants, window_sums

CIRCLE_WINDOWS = (90, 365)
CIRCLES: tuple[tuple[str, str], ...] = (
    ("hour", "visits round the 24 hours"),
    ("half_day", "visits round 12 hours (second harmonic of the day)"),
    ("weekday", "visits round the week"),
    ("half_week", "visits round half a week (second harmonic of the week)"),
    ("month_day", "visits round the month"),
)
MONTH_PARTS = ((1, 7), (8, 14), (15, 21), (22, 31))
MONTH_WINDOW = 180
WEEKS, MIN_WEEKS = 26, 8
DAYS = 7 * WEEKS
LAGS = (1, 7, 14, 28)
WEEKLY_BINS = (26, 52, 78)  # 7 days and its second and third harmonic among the frequencies k / 182
SLOW_BINS = 6  # frequencies below one in 30 days
BURST_WINDOW, MEMORY_WINDOW = 180, 365
_BEFORE_GAPS = len(LAGS) + 11  # columns of the series that stand before those of the gaps
_CHUNK = 512  # customers at a time: their series stay in the processor's cache
_ROUNDING = 1e-9  # a mean resultant or a share of variance below it is none, two powers closer than it are equal


def columns() -> tuple[Column, ...]:
    """The 60 columns in their order."""

    def column(name: str, meaning: str, unit: str, days: int) -> Column:
        return Column(f"base__{name}_{days}d", meaning, unit, f"{days} days")

    made = []
    for circle, what in CIRCLES:
        for w in CIRCLE_WINDOWS:
            made += [
                column(f"{circle}_concentration", f"mean resultant length of {what}; from two visits on", "share", w),
                column(f"{circle}_sin", f"sine of the mean direction of {what}", "ratio", w),
                column(f"{circle}_cos", f"cosine of the mean direction of {what}", "ratio", w),
            ]
    made += [
        column(f"month_days_{a}_{b}_share", f"share of visits on days {a} to {b} of the month", "share", MONTH_WINDOW)
        for a, b in MONTH_PARTS
    ]
    made += [
        column(f"visits_autocorrelation_lag{k}", f"autocorrelation of daily visits at {k} days", "ratio", DAYS)
        for k in LAGS
    ]
    series = (
        ("spend_autocorrelation_lag7", "autocorrelation of daily log spend at 7 days", "ratio"),
        ("weekly_spend_autocorrelation_lag1", "autocorrelation of weekly spend from week to week", "ratio"),
        ("spend_peak_period", "period with most power in daily log spend", "days"),
        ("spend_peak_share", "share of the power of daily log spend at its peak", "share"),
        ("spend_spectral_entropy", "entropy of the spectrum of daily log spend over its largest value", "ratio"),
        ("spend_weekly_power", "share of the power of daily log spend at a week and its harmonics", "share"),
        ("spend_slow_power", "share of the power of daily log spend at periods of 30 days and more", "share"),
        ("spend_spectral_centroid", "mean frequency of daily log spend by power", "cycles per day"),
        ("visits_peak_period", "period with most power in daily visits", "days"),
        ("visits_spectral_entropy", "entropy of the spectrum of daily visits over its largest value", "ratio"),
        ("visits_weekly_power", "share of the power of daily visits at a week and its harmonics", "share"),
    )
    made += [column(name, meaning, unit, DAYS) for name, meaning, unit in series]
    made += [
        column("gap_burstiness", "burstiness of gaps between purchase days, −1 regular to 1 bursty", "ratio", 180),
        column("gap_memory", "correlation of a gap between purchase days with the next", "ratio", MEMORY_WINDOW),
    ]
    components = (
        ("spend_trend_strength", "strength of the trend of daily log spend", "share"),
        ("spend_weekday_strength", "strength of the weekday pattern of daily log spend", "share"),
        ("visits_trend_strength", "strength of the trend of daily visits", "share"),
        ("visits_weekday_strength", "strength of the weekday pattern of daily visits", "share"),
    )
    made += [column(name, meaning, unit, DAYS) for name, meaning, unit in components]
    over = "over its mean of the window, a week"
    made += [
        column("spend_slope", f"slope of weekly spend {over}", "per week", 56),
        column("spend_slope_change", f"slope of weekly spend {over}: last 8 weeks minus the 8 before", "per week", 112),
        column("spend_slope_change", f"slope of weekly spend {over}: last 4 weeks minus the 4 before", "per week", 56),
        column("visits_slope", f"slope of weekly visits {over}", "per week", 56),
        column(
            "visits_slope_change", f"slope of weekly visits {over}: last 8 weeks minus the 8 before", "per week", 112
        ),
    ]
    return tuple(made)


def compute(history: History) -> list[np.ndarray]:
    """The 60 columns, each [customers] float64 with NaN where undefined."""
    chunks = [_of_series(history, i, min(i + _CHUNK, history.customers)) for i in range(0, history.customers, _CHUNK)]
    series = [np.concatenate(columns) for columns in zip(*(chunks or [_of_series(history, 0, 0)]), strict=True)]
    return [
        *(_circles(history) + _month_parts(history)),
        *series[:_BEFORE_GAPS],
        _burstiness(history),
        _memory(history),
        *series[_BEFORE_GAPS:],
    ]


def _of_series(history: History, first: int, end: int) -> list[np.ndarray]:
    """The columns of the daily and weekly series of customers `first` … `end` − 1; burstiness and memory come after
    the first `_BEFORE_GAPS`."""
    weeks = np.minimum(history.tenure[first:end] // 7, WEEKS)
    weeks = np.where(weeks >= MIN_WEEKS, weeks, 0).astype(np.int64)
    known = np.arange(DAYS) >= DAYS - 7 * weeks[:, None]
    daily_visits = _daily(history, history.day_visits, first, end)
    amount = _daily(history, history.day_amount, first, end)
    visits, spend = centred(daily_visits, known), centred(np.log1p(np.maximum(amount, 0.0)), known)
    weekly_known = known[:, ::7]
    weekly_spend = amount.reshape(-1, WEEKS, 7).sum(axis=2)
    weekly_visits = daily_visits.reshape(-1, WEEKS, 7).sum(axis=2)
    made = [autocorrelation(visits, k) for k in LAGS]
    made += [autocorrelation(spend, 7), autocorrelation(centred(weekly_spend, weekly_known), 1)]
    made += [*spectrum(spend)]
    peak_period, _, entropy, weekly, _, _ = spectrum(visits)
    made += [peak_period, entropy, weekly]
    made += [*strengths(spend, known), *strengths(visits, known)]
    made += [
        slope(weekly_spend, weekly_known, 8),
        slope_change(weekly_spend, weekly_known, 8),
        slope_change(weekly_spend, weekly_known, 4),
        slope(weekly_visits, weekly_known, 8),
        slope_change(weekly_visits, weekly_known, 8),
    ]
    return made


def _circles(history: History) -> list[np.ndarray]:
    """Mean resultant length (n ≥ 2), sine and cosine of the mean direction, a circle and window.
    Source: Mardia & Jupp (2000), Directional Statistics, §2.3."""
    visits, windows = history.visits, np.array(CIRCLE_WINDOWS)
    count = window_counts(visits.start, visits.days_ago, windows)
    hour, weekday = visits.values("hour"), visits.values("weekday")
    turns = (
        hour / 24,
        hour / 12,
        weekday / 7,
        weekday / 3.5,
        history.month_day / history.month_days,
    )
    made = []
    for turn in turns:
        sums = window_resultants(visits.start, visits.days_ago, 2 * np.pi * turn, windows)
        norm = np.sqrt(sums[..., 0] ** 2 + sums[..., 1] ** 2)
        length = np.minimum(norm / np.maximum(count, 1), 1.0)
        some = np.where(length > _ROUNDING, norm, np.nan)
        for w in range(len(CIRCLE_WINDOWS)):
            concentration = np.where(count[:, w] >= 2, length[:, w], np.nan)
            made += [concentration, sums[:, w, 1] / some[:, w], sums[:, w, 0] / some[:, w]]
    return made


def _month_parts(history: History) -> list[np.ndarray]:
    """Shares of visits by part of the month; NaN without a visit."""
    visits, window = history.visits, np.array([MONTH_WINDOW])
    n = window_counts(visits.start, visits.days_ago, window)[:, 0]
    made = []
    for first, last in MONTH_PARTS:
        inside = ((history.month_day + 1 >= first) & (history.month_day + 1 <= last)).astype(np.float64)
        made.append(window_sums(visits.start, visits.days_ago, inside, window)[:, 0] / np.where(n > 0, n, np.nan))
    return made


def _daily(history: History, values: np.ndarray, first: int, end: int) -> np.ndarray:
    """Values of purchase days as a series of customers `first` … `end` − 1, [·, 182], the day before t last."""
    start = history.days.start[first : end + 1]
    own = slice(start[0], start[-1])
    row, days_ago = np.repeat(np.arange(end - first), np.diff(start)), history.days.days_ago[own]
    recent = days_ago <= DAYS
    series = np.zeros((end - first, DAYS))
    series[row[recent], DAYS - days_ago[recent]] = values[own][recent]
    return series


def centred(series: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Deviations from the mean of the known days, 0 elsewhere; exactly 0 all over for a constant series."""
    n = np.maximum(known.sum(axis=1), 1)[:, None]
    mean = (series * known).sum(axis=1)[:, None] / n
    lowest = np.where(known, series, np.inf).min(axis=1)[:, None]
    highest = np.where(known, series, -np.inf).max(axis=1)[:, None]
    return np.where(known & (lowest < highest), series - mean, 0.0)


def autocorrelation(d: np.ndarray, lag: int) -> np.ndarray:
    """Sample autocorrelation r_k = Σ d_t d_{t+k} / Σ d_t² of deviations [customers, steps] (`centred`); NaN where they
    are all 0. Source: Box & Jenkins (1976) §2.1.5."""
    below = (d * d).sum(axis=1)
    return (d[:, lag:] * d[:, :-lag]).sum(axis=1) / np.where(below > 0, below, np.nan)


def spectrum(d: np.ndarray) -> tuple[np.ndarray, ...]:
    """Peak period (days), its share, entropy in [0, 1], shares of the weekly and the slow frequencies, centroid (cycles
    a day) of the periodogram at k / 182, k = 1 … 91, of deviations [customers, 182] (`centred`); NaN if constant.
    Unknown days are padding. Equal peaks (but for rounding): the longest period; a flat spectrum has none.
    Source: Schuster (1898); Inouye et al. (1991) for the entropy."""
    power = np.abs(np.fft.rfft(d, axis=1))[:, 1:] ** 2
    total = power.sum(axis=1)
    share = power / np.where(total > 0, total, np.nan)[:, None]
    frequency = np.arange(1, share.shape[1] + 1) / DAYS
    highest = power.max(axis=1)
    peak = np.argmax(power >= highest[:, None] * (1 - _ROUNDING), axis=1)
    peaked = power.min(axis=1) < highest * (1 - _ROUNDING)
    entropy = 0.0 - (share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1) / np.log(share.shape[1])
    return (
        np.where(peaked, 1 / frequency[peak], np.nan),
        share.max(axis=1),
        entropy,
        share[:, [k - 1 for k in WEEKLY_BINS]].sum(axis=1),
        share[:, :SLOW_BINS].sum(axis=1),
        (share * frequency).sum(axis=1),
    )


def strengths(x: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength of trend and of weekday pattern, max(0, 1 − Var R / Var(T + R)) and max(0, 1 − Var R / Var(S + R)), in
    [0, 1], of deviations [customers, 182] (`centred`); NaN where the variance below is 0 (but for rounding).

    T is the centred mean of 7 days, S the weekday means of what is left, R the rest, where the 7 days are known.
    Source: Wang, Smith & Hyndman (2006), with classical decomposition in place of STL.
    """
    trend = np.zeros_like(x)
    for k in range(7):
        trend[:, 3:-3] += x[:, k : DAYS - 6 + k]
    trend /= 7
    inner = np.zeros_like(known)
    inner[:, 3:-3] = known[:, :-6] & known[:, 6:]
    n = np.maximum(inner.sum(axis=1), 1)
    detrended = np.where(inner, x - trend, 0.0).reshape(-1, WEEKS, 7)
    often = np.maximum(inner.reshape(-1, WEEKS, 7).sum(axis=1), 1)
    season = detrended.sum(axis=1) / often
    season = np.tile(season - season.mean(axis=1)[:, None], (1, WEEKS))

    def variance(values: np.ndarray) -> np.ndarray:
        values = np.where(inner, values, 0.0)
        deviation = np.where(inner, values - (values.sum(axis=1) / n)[:, None], 0.0)
        return (deviation * deviation).sum(axis=1) / n

    def strength(without: np.ndarray) -> np.ndarray:
        whole = variance(without)
        return np.maximum(0.0, 1.0 - rest / np.where(whole > _ROUNDING * variance(x), whole, np.nan))

    rest = variance(x - trend - season)
    return strength(x - season), strength(x - trend)


def slope(weekly: np.ndarray, known: np.ndarray, weeks: int, end: int = 0) -> np.ndarray:
    """Least-squares slope of `weeks` weeks of [customers, 26] that end `end` weeks before t, over their mean; NaN where
    they are not all known or hold nothing."""
    return _slope(weekly, known, weeks, end) / _mean(weekly, weeks, end)


def slope_change(weekly: np.ndarray, known: np.ndarray, weeks: int) -> np.ndarray:
    """Slope of the last `weeks` weeks minus that of the `weeks` before, over the mean of both; NaN as in `slope`."""
    change = _slope(weekly, known, weeks, 0) - _slope(weekly, known, weeks, weeks)
    return change / _mean(weekly, 2 * weeks, 0)


def _slope(weekly: np.ndarray, known: np.ndarray, weeks: int, end: int) -> np.ndarray:
    window = np.s_[:, WEEKS - end - weeks : WEEKS - end]
    time = np.arange(weeks) - (weeks - 1) / 2
    return np.where(known[window].all(axis=1), (weekly[window] * time).sum(axis=1) / (time * time).sum(), np.nan)


def _mean(weekly: np.ndarray, weeks: int, end: int) -> np.ndarray:
    mean = weekly[:, WEEKS - end - weeks : WEEKS - end].sum(axis=1) / weeks
    return np.where(mean > 0, mean, np.nan)


def _gaps(history: History, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Customer and length (days) of the gaps between successive purchase days that both lie in the window."""
    row, ago = history.days.row, history.days.days_ago
    inside = (row[1:] == row[:-1]) & (ago[:-1] <= window)
    return row[1:][inside], (ago[:-1] - ago[1:])[inside]


def _burstiness(history: History) -> np.ndarray:
    """(√(n+1) c − √(n−1)) / ((√(n+1) − 2) c + √(n−1)), c the CV of n gaps, corrected for their number; NaN below two.
    Source: Kim & Jo (2016), Measuring burstiness for finite event sequences, eq. 22 (n there counts events)."""
    owner, gap = _gaps(history, BURST_WINDOW)
    n = np.bincount(owner, minlength=history.customers).astype(np.float64)
    total = sum_at(owner, gap, history.customers)
    squares = sum_at(owner, gap * gap, history.customers)
    some = np.where(n >= 2, n, np.nan)
    cv = np.sqrt(np.maximum(some * squares - total * total, 0.0)) / total
    events = some + 1.0
    return (np.sqrt(events + 1) * cv - np.sqrt(events - 1)) / ((np.sqrt(events + 1) - 2) * cv + np.sqrt(events - 1))


def _memory(history: History) -> np.ndarray:
    """Pearson correlation of successive gaps; NaN below three pairs or where either side is constant.
    Source: Goh & Barabási (2008), Burstiness and memory in complex systems."""
    owner, gap = _gaps(history, MEMORY_WINDOW)
    pair = owner[1:] == owner[:-1]
    owner, a, b = owner[1:][pair], gap[:-1][pair], gap[1:][pair]

    def total(values: np.ndarray) -> np.ndarray:  # whole numbers: exact
        return sum_at(owner, values, history.customers)

    n = total(np.ones(a.size))
    above = n * total(a * b) - total(a) * total(b)
    below = (n * total(a * a) - total(a) ** 2) * (n * total(b * b) - total(b) ** 2)
    return np.where((n >= 3) & (below > 0), above / np.sqrt(np.where(below > 0, below, 1.0)), np.nan)
