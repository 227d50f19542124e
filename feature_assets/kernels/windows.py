"""Statistics of each customer's events in nested windows [t − w, t).

Shared layout: the events of customer i are `start[i]:start[i+1]`, oldest first, and `days_ago` (≥ 1) falls along them,
so a window is the tail of the slice. `windows` are days, increasing. Results have shape [customers, windows].
Source: PERFORMANCE §1 ("a single numba pass").
"""

from __future__ import annotations

import numpy as np
from numba import njit

MOMENTS = ("mean", "std", "skew", "kurtosis", "q25", "median", "q90", "max", "cv")
"""Last axis of `window_moments`."""


@njit(cache=True)
def window_sums(start: np.ndarray, days_ago: np.ndarray, values: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Sums of `values` (float64), added newest first; 0 where the window is empty."""
    customers = start.size - 1
    sums = np.zeros((customers, windows.size))
    for i in range(customers):
        total, j = 0.0, start[i + 1] - 1
        for w in range(windows.size):
            while j >= start[i] and days_ago[j] <= windows[w]:
                total += values[j]
                j -= 1
            sums[i, w] = total
    return sums


@njit(cache=True)
def window_counts(start: np.ndarray, days_ago: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Numbers of events, as float64."""
    customers = start.size - 1
    counts = np.zeros((customers, windows.size))
    for i in range(customers):
        j = start[i + 1] - 1
        for w in range(windows.size):
            while j >= start[i] and days_ago[j] <= windows[w]:
                j -= 1
            counts[i, w] = start[i + 1] - 1 - j
    return counts


@njit(cache=True)
def window_resultants(start: np.ndarray, days_ago: np.ndarray, angles: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Sums of cosines and sines of `angles` (radians): shape [customers, windows, 2]."""
    customers = start.size - 1
    sums = np.zeros((customers, windows.size, 2))
    for i in range(customers):
        cosines, sines, j = 0.0, 0.0, start[i + 1] - 1
        for w in range(windows.size):
            while j >= start[i] and days_ago[j] <= windows[w]:
                cosines += np.cos(angles[j])
                sines += np.sin(angles[j])
                j -= 1
            sums[i, w, 0] = cosines
            sums[i, w, 1] = sines
    return sums


@njit(cache=True)
def window_dispersion(
    start: np.ndarray, days_ago: np.ndarray, codes: np.ndarray, n_codes: int, windows: np.ndarray
) -> np.ndarray:
    """Probability that two different events of the window differ in code: 1 − Σ n_c (n_c − 1) / (N (N − 1)).

    Codes lie in 0 … n_codes − 1; −1 is unknown and left out. NaN below two known events. All sums are of integers.
    Source: Simpson (1949), Measurement of diversity.
    """
    customers = start.size - 1
    result = np.full((customers, windows.size), np.nan)
    seen = np.zeros(n_codes, dtype=np.int64)
    for i in range(customers):
        pairs, known, j = 0, 0, start[i + 1] - 1
        for w in range(windows.size):
            while j >= start[i] and days_ago[j] <= windows[w]:
                code = codes[j]
                if code >= 0:
                    pairs += 2 * seen[code]
                    seen[code] += 1
                    known += 1
                j -= 1
            if known >= 2:
                result[i, w] = 1.0 - pairs / (known * (known - 1))
        for k in range(start[i], start[i + 1]):
            if codes[k] >= 0:
                seen[codes[k]] = 0
    return result


@njit(cache=True)
def _quantile(ordered: np.ndarray, q: float) -> float:
    """Linear interpolation between order statistics (numpy's default, type 7 of Hyndman & Fan 1996)."""
    place = q * (ordered.size - 1)
    low = int(np.floor(place))
    high = min(low + 1, ordered.size - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@njit(cache=True)
def window_moments(start: np.ndarray, days_ago: np.ndarray, values: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """`MOMENTS` of `values`: shape [customers, windows, 9]; NaN where undefined.

    std has n − 1 below it (n ≥ 2); skew is g1 (n ≥ 3) and kurtosis the excess g2 (n ≥ 4), both NaN where all values
    are equal; cv = std / mean (n ≥ 2, mean > 0). Source: Joanes & Gill (1998) for g1 and g2.
    """
    customers = start.size - 1
    result = np.full((customers, windows.size, 9), np.nan)
    for i in range(customers):
        first = start[i + 1]
        for w in range(windows.size):
            while first > start[i] and days_ago[first - 1] <= windows[w]:
                first -= 1
            n = start[i + 1] - first
            if n == 0:
                continue
            ordered = np.sort(values[first : start[i + 1]])
            mean = 0.0
            for k in range(n):
                mean += ordered[k]
            mean /= n
            m2, m3, m4 = 0.0, 0.0, 0.0
            for k in range(n):
                d = ordered[k] - mean
                m2 += d * d
                m3 += d * d * d
                m4 += d * d * d * d
            out = result[i, w]
            out[0] = mean
            if n >= 2:
                out[1] = np.sqrt(m2 / (n - 1))
                if mean > 0:
                    out[8] = out[1] / mean
            if ordered[0] < ordered[n - 1]:
                if n >= 3:
                    out[2] = (m3 / n) / (m2 / n) ** 1.5
                if n >= 4:
                    out[3] = (m4 / n) / (m2 / n) ** 2 - 3.0
            out[4] = _quantile(ordered, 0.25)
            out[5] = _quantile(ordered, 0.5)
            out[6] = _quantile(ordered, 0.9)
            out[7] = ordered[n - 1]
    return result
