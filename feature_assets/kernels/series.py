"""Statistics of each customer's daily series: spectrum, change points, memory and complexity.

A series has `length` known days (at most `DAYS`), the last of them the day before t; `start` and `days_ago` say on
which of them something happened, as in `groups._days.Days`, and all the others are 0. A result is NaN where
it is undefined.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DAYS = 180
LEAST_DAYS = 56  # known days from which a series is described
LEAST_ACTIVE = 5  # days with a purchase from which the shape of their amounts is described
LJUNG_BOX_LAGS = 14
SHORTEST_SEGMENT = 7
ROLL_OFF = 0.85
TOLERANCE = 0.2  # standard deviations that two days may differ and still be alike
MEASURES = (
    "spend_gini",
    "spend_l_skewness",
    "spend_l_kurtosis",
    "weekly_dispersion",
    "spectral_spread",
    "spectral_roll_off",
    "spectral_flatness",
    "spectral_slope",
    "change_points",
    "regime_age",
    "cusum",
    "ljung_box",
    "partial_autocorrelation_lag7",
    "decorrelation_time",
    "dfa_exponent",
    "permutation_entropy",
    "sample_entropy",
    "lempel_ziv",
)
_FLOOR = 1e-9  # of the mean power: below it a frequency has none but for rounding


@njit(cache=True)
def series_measures(start: np.ndarray, days_ago: np.ndarray, logs: np.ndarray, length: np.ndarray) -> np.ndarray:
    """`MEASURES` of daily log1p spend `logs` (0 = no purchase): float64 [customers, 18]."""
    customers = start.size - 1
    result = np.full((customers, 18), np.nan)
    x, active = np.zeros(DAYS), np.zeros(DAYS)
    angles = np.arange(DAYS) * (2 * np.pi / DAYS)
    cosines, sines = np.cos(angles), np.sin(angles)
    # transforms of "the last n days are known", by n and frequency
    known_re, known_im = np.zeros((DAYS + 1, DAYS // 2 + 1)), np.zeros((DAYS + 1, DAYS // 2 + 1))
    for n in range(1, DAYS + 1):
        for k in range(DAYS // 2 + 1):
            known_re[n, k] = known_re[n - 1, k] + cosines[(k * (DAYS - n)) % DAYS]
            known_im[n, k] = known_im[n - 1, k] - sines[(k * (DAYS - n)) % DAYS]
    for i in range(customers):
        n = length[i]
        x[:] = 0.0
        used = 0
        for e in range(start[i], start[i + 1]):
            if logs[e] > 0:
                x[n - days_ago[e]] = logs[e]
                active[used] = logs[e]
                used += 1
        out = result[i]
        if n < LEAST_DAYS or used == 0:
            continue
        series = x[:n]
        out[0] = _gini(active[:used], n)
        if used >= LEAST_ACTIVE:
            _l_moments(np.sort(active[:used]), out)
        out[3] = _dispersion(series)
        total, squares = 0.0, 0.0
        for d in range(n):
            total += series[d]
        mean = total / n
        for d in range(n):
            squares += (series[d] - mean) ** 2
        deviations = series - mean
        if series.min() < series.max():
            _spectrum(series, mean, cosines, sines, known_re[n], known_im[n], out)
            _change_points(series, squares, out)
            out[10] = _cusum(deviations, squares)
            _memory(deviations, squares, out)
            out[14] = _dfa(deviations)
            out[16] = _sample_entropy(series, TOLERANCE * np.sqrt(squares / n))
        out[15] = _permutation_entropy(series)
        out[17] = _lempel_ziv(series)
    return result


@njit(cache=True)
def _gini(logs: np.ndarray, n: int) -> float:
    """Gini coefficient of daily spend over all n days, those without spend among them. Source: Gini (1912)."""
    ordered = np.sort(logs)
    total, weighted = 0.0, 0.0
    for k in range(ordered.size):
        spend = np.expm1(ordered[k])
        total += spend
        weighted += spend * (n - ordered.size + k + 1)
    return 2.0 * weighted / (n * total) - (n + 1.0) / n


@njit(cache=True)
def _l_moments(ordered: np.ndarray, out: np.ndarray) -> None:
    """L-skewness and L-kurtosis by unbiased probability-weighted moments. Source: Hosking (1990), L-moments."""
    n = ordered.size
    b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        v = ordered[k]
        b0 += v
        b1 += v * k / (n - 1)
        b2 += v * k * (k - 1) / ((n - 1.0) * (n - 2))
        b3 += v * k * (k - 1) * (k - 2) / ((n - 1.0) * (n - 2) * (n - 3))
    b0, b1, b2, b3 = b0 / n, b1 / n, b2 / n, b3 / n
    scale = 2 * b1 - b0
    if ordered[0] < ordered[n - 1] and scale > 1e-12 * b0:
        out[1] = (6 * b2 - 6 * b1 + b0) / scale
        out[2] = (20 * b3 - 30 * b2 + 12 * b1 - b0) / scale


@njit(cache=True)
def _dispersion(series: np.ndarray) -> float:
    """Index of dispersion (variance over mean) of the number of purchase days in whole weeks, the last one last.
    Source: Fano (1947)."""
    weeks = series.size // 7
    total, squares = 0, 0
    for w in range(weeks):
        count = 0
        for d in range(series.size - 7 * (w + 1), series.size - 7 * w):
            count += series[d] > 0
        total += count
        squares += count * count
    if total == 0:
        return np.nan
    mean = total / weeks
    return (squares / weeks - mean * mean) * weeks / (weeks - 1) / mean


@njit(cache=True)
def _spectrum(
    series: np.ndarray,
    mean: float,
    cosines: np.ndarray,
    sines: np.ndarray,
    known_re: np.ndarray,
    known_im: np.ndarray,
    out: np.ndarray,
) -> None:
    """Spread, roll-off, flatness and slope of the periodogram at k / 180, k = 1 … 90, of deviations from the mean
    (unknown days are padding), with a floor so small that it only matters where a frequency is absent.

    Source: Peeters (2004), A large set of audio features, §6.1 (spread, roll-off); Gray & Markel (1974) (flatness);
    Voss & Clarke (1975) (slope of log power over log frequency).
    """
    half, shift = DAYS // 2, DAYS - series.size
    re, im = np.zeros(half + 1), np.zeros(half + 1)
    for d in range(series.size):
        v = series[d]
        if v != 0.0:
            turn = 0
            for k in range(half + 1):
                re[k] += v * cosines[turn]
                im[k] -= v * sines[turn]
                turn += d + shift
                if turn >= DAYS:
                    turn -= DAYS
    total = 0.0
    power = np.zeros(half)
    for k in range(1, half + 1):
        a, b = re[k] - mean * known_re[k], im[k] - mean * known_im[k]
        power[k - 1] = a * a + b * b
        total += power[k - 1]
    floor = _FLOOR * total / half
    centroid, logs, fx, fxx, fxy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(half):
        f = (k + 1) / DAYS
        centroid += power[k] / total * f
        log_power, log_f = np.log(power[k] + floor), np.log(f)
        logs += log_power
        fx += log_f
        fxx += log_f * log_f
        fxy += log_f * log_power
    spread, cumulated, rolled = 0.0, 0.0, -1.0
    for k in range(half):
        f = (k + 1) / DAYS
        share = power[k] / total
        spread += share * (f - centroid) ** 2
        if rolled < 0 and cumulated + share >= ROLL_OFF:
            rolled = f
        cumulated += share
    out[4] = np.sqrt(spread)
    out[5] = rolled if rolled > 0 else half / DAYS
    out[6] = np.exp(logs / half) / (total / half + floor)
    out[7] = (fxy - fx * logs / half) / (fxx - fx * fx / half)


@njit(cache=True)
def _change_points(series: np.ndarray, squares: float, out: np.ndarray) -> None:
    """Number of changes of the mean and age (days) of the present regime: the segmentation of least squared error plus
    2 σ² log n a change, segments of at least a week, σ² from successive differences (half their mean square).

    Source: Jackson et al. (2005), optimal partitioning; Killick, Fearnhead & Eckley (2012), PELT, whose minimum and
    penalty it has; von Neumann (1941) for σ².
    """
    n = series.size
    sums = np.zeros(n + 1)
    noise = 0.0
    for d in range(n):
        sums[d + 1] = sums[d] + series[d]
        if d > 0:
            noise += (series[d] - series[d - 1]) ** 2
    penalty = 2.0 * np.log(n) * noise / (2.0 * (n - 1))
    inverse = np.zeros(n + 1)
    inverse[1:] = 1.0 / np.arange(1, n + 1)
    # the sum of squares is the same for every segmentation: gain = Σ sum² / length, to be made as large as possible
    best, before = np.full(n + 1, -np.inf), np.zeros(n + 1, dtype=np.int64)
    best[0] = 0.0
    slack = 1e-9 * squares  # but for rounding: of equal segmentations, the one with the fewer changes
    for end in range(SHORTEST_SEGMENT, n + 1):
        value, place = sums[end] * sums[end] * inverse[end], 0
        for cut in range(SHORTEST_SEGMENT, end - SHORTEST_SEGMENT + 1):
            inside = sums[end] - sums[cut]
            gain = best[cut] + inside * inside * inverse[end - cut] - penalty
            if gain > value + slack:
                value, place = gain, cut
        best[end], before[end] = value, place
    count, at = 0, before[n]
    out[9] = n - at
    while at > 0:
        count += 1
        at = before[at]
    out[8] = count


@njit(cache=True)
def _cusum(deviations: np.ndarray, squares: float) -> float:
    """The cumulative sum of deviations that is furthest from 0, over σ √n, with the sign of the change: > 0 where the
    later part is higher. Source: Page (1954); Brown, Durbin & Evans (1975)."""
    total, furthest = 0.0, 0.0
    for d in range(deviations.size):
        total += deviations[d]
        if abs(total) > abs(furthest) * (1 + 1e-9):
            furthest = total
    return -furthest / np.sqrt(squares)  # σ √n = √squares


@njit(cache=True)
def _memory(deviations: np.ndarray, squares: float, out: np.ndarray) -> None:
    """Ljung–Box statistic of 14 lags over their number, partial autocorrelation at 7 days, and decorrelation time.

    Source: Ljung & Box (1978); Durbin (1960) for the recursion; Geyer (1992): 1 + 2 Σ ρ_k up to the first ρ_k ≤ 0.
    """
    n = deviations.size
    rho = np.zeros(LJUNG_BOX_LAGS + 1)
    rho[0] = 1.0
    q, time, positive = 0.0, 1.0, True
    for k in range(1, n // 2):
        if k > LJUNG_BOX_LAGS and not positive:
            break
        product = 0.0
        for d in range(n - k):
            product += deviations[d] * deviations[d + k]
        r = product / squares
        if k <= LJUNG_BOX_LAGS:
            rho[k] = r
            q += r * r / (n - k)
        positive = positive and r > 0
        if positive:
            time += 2 * r
    out[11] = n * (n + 2) * q / LJUNG_BOX_LAGS
    out[13] = time
    phi, fresh = np.zeros(8), np.zeros(8)
    variance = 1.0
    for k in range(1, 8):
        above = rho[k]
        for j in range(1, k):
            above -= phi[j] * rho[k - j]
        if variance <= 1e-9:  # the days before say all
            return
        last = above / variance
        for j in range(1, k):
            fresh[j] = phi[j] - last * phi[k - j]
        fresh[k] = last
        phi[:] = fresh
        variance *= 1 - last * last
    out[12] = phi[7]


@njit(cache=True)
def _dfa(deviations: np.ndarray) -> float:
    """Exponent of detrended fluctuations (order 1) in boxes of 4, 8, 16 and 28 days from the end of the series; NaN
    where the boxes of a size have none (but for rounding).
    Source: Peng et al. (1994), Mosaic organization of DNA nucleotides."""
    n = deviations.size
    profile = np.cumsum(deviations)
    whole = (profile * profile).sum()
    scales = np.array([4, 8, 16, 28])
    sx, sy, sxx, sxy = 0.0, 0.0, 0.0, 0.0
    for s in scales:
        boxes = n // s
        middle, spread = (s - 1) / 2.0, s * (s * s - 1) / 12.0
        rest = 0.0
        for b in range(boxes):
            first = n - s * (b + 1)
            mean, slope = 0.0, 0.0
            for d in range(s):
                mean += profile[first + d]
                slope += (d - middle) * profile[first + d]
            mean /= s
            slope /= spread
            for d in range(s):
                rest += (profile[first + d] - mean - slope * (d - middle)) ** 2
        if rest <= 1e-9 * whole:
            return np.nan
        lx, ly = np.log(s), 0.5 * np.log(rest / (boxes * s))
        sx += lx
        sy += ly
        sxx += lx * lx
        sxy += lx * ly
    m = scales.size
    return (sxy - sx * sy / m) / (sxx - sx * sx / m)


@njit(cache=True)
def _permutation_entropy(series: np.ndarray) -> float:
    """Entropy of the orders of four successive days over its maximum; equal days count as rising.
    Source: Bandt & Pompe (2002)."""
    counts = np.zeros(64, dtype=np.int64)
    for d in range(series.size - 3):
        a, b, c, e = series[d], series[d + 1], series[d + 2], series[d + 3]
        code = (a <= b) + 2 * (a <= c) + 4 * (a <= e) + 8 * (b <= c) + 16 * (b <= e) + 32 * (c <= e)
        counts[code] += 1
    entropy, n = 0.0, series.size - 3
    for k in range(64):
        if counts[k] > 0:
            p = counts[k] / n
            entropy -= p * np.log(p)
    return entropy / np.log(24.0)


@njit(cache=True)
def _sample_entropy(series: np.ndarray, tolerance: float) -> float:
    """−ln(A / B): of the pairs of places where two days are alike (B), those where the third is as well (A); NaN where
    there is none. Source: Richman & Moorman (2000), m = 2."""
    n = series.size
    alike = np.zeros(n, dtype=np.int32)
    a, b = 0, 0
    for lag in range(1, n - 2):
        for d in range(n - lag):
            alike[d] = abs(series[d] - series[d + lag]) <= tolerance
        for d in range(n - lag - 2):
            two = alike[d] & alike[d + 1]
            b += two
            a += two & alike[d + 2]
    if a == 0:
        return np.nan
    return np.log(b / a)


@njit(cache=True)
def _lempel_ziv(series: np.ndarray) -> float:
    """Lempel–Ziv complexity of "bought or not", c log₂ n / n. Source: Lempel & Ziv (1976); the count of Kaspar &
    Schuster (1987)."""
    n = series.size
    words, i, longest, length, here = 1, 0, 1, 1, 1
    while here + length <= n:
        if (series[i + length - 1] > 0) == (series[here + length - 1] > 0):
            length += 1
        else:
            longest = max(longest, length)
            i += 1
            if i == here:  # nothing before continues it any further: a word ends
                words += 1
                here += longest
                i, longest = 0, 1
            length = 1
    words += here < n  # the last word may be unfinished
    return words * np.log2(n) / n
