"""Categories in each customer's lines: amounts by coarse category, and variety of fine ones.

Lines are laid out as in `windows.py`. Fine categories may be many, so a customer's are kept in scratch arrays of which
only the touched places are cleared; sums run in the order of first touch, which is the customer's own.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def category_totals(
    start: np.ndarray,
    days_ago: np.ndarray,
    codes: np.ndarray,
    values: np.ndarray,
    n_codes: int,
    windows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `values` and numbers of lines by code: each [windows, customers, n_codes]; code −1 is left out."""
    customers = start.size - 1
    sums = np.zeros((windows.size, customers, n_codes))
    counts = np.zeros((windows.size, customers, n_codes))
    for i in range(customers):
        for j in range(start[i + 1] - 1, start[i] - 1, -1):
            if codes[j] >= 0:
                for w in range(windows.size):
                    if days_ago[j] <= windows[w]:
                        sums[w, i, codes[j]] += values[j]
                        counts[w, i, codes[j]] += 1.0
    return sums, counts


@njit(cache=True)
def visit_categories(
    visit_of_line: np.ndarray, codes: np.ndarray, values: np.ndarray, n_visits: int, n_codes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each visit: its main code (largest sum of `values`, the first bought of equals; −1 without a known one) and
    its number of different codes. Lines of one visit lie together."""
    main = np.full(n_visits, -1, dtype=np.int64)
    variety = np.zeros(n_visits)
    sums = np.zeros(n_codes)
    visit_seen = np.full(n_codes, -1, dtype=np.int64)
    touched = np.empty(n_codes, dtype=np.int64)
    j = 0
    while j < codes.size:
        visit, n = visit_of_line[j], 0
        while j < codes.size and visit_of_line[j] == visit:
            code = codes[j]
            if code >= 0:
                if visit_seen[code] != visit:
                    visit_seen[code] = visit
                    sums[code] = 0.0
                    touched[n] = code
                    n += 1
                sums[code] += values[j]
            j += 1
        variety[visit] = n
        for k in range(n):
            if main[visit] < 0 or sums[touched[k]] > sums[main[visit]]:
                main[visit] = touched[k]
    return main, variety


@njit(cache=True)
def window_switches(start: np.ndarray, days_ago: np.ndarray, main: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Share of successive visits of the window whose `main` code differs; visits without one are passed over.
    NaN below two such visits."""
    customers = start.size - 1
    result = np.full((customers, windows.size), np.nan)
    for i in range(customers):
        switches, pairs, later, j = 0, 0, -1, start[i + 1] - 1
        for w in range(windows.size):
            while j >= start[i] and days_ago[j] <= windows[w]:
                if main[j] >= 0:
                    if later >= 0:
                        pairs += 1
                        switches += main[j] != later
                    later = main[j]
                j -= 1
            if pairs > 0:
                result[i, w] = switches / pairs
    return result


@njit(cache=True)
def novelty(
    start: np.ndarray, days_ago: np.ndarray, codes: np.ndarray, n_codes: int, windows: np.ndarray
) -> np.ndarray:
    """Share of the window's different codes that the customer never bought before the window.
    NaN where the window has no known code or nothing lies before it."""
    customers = start.size - 1
    result = np.full((customers, windows.size), np.nan)
    first = np.zeros(n_codes, dtype=np.int64)  # days ago of the first and of the last purchase of a code
    last = np.zeros(n_codes, dtype=np.int64)
    touched = np.empty(n_codes, dtype=np.int64)
    for i in range(customers):
        n, oldest = 0, 0
        for j in range(start[i], start[i + 1]):
            code = codes[j]
            if code >= 0:
                if first[code] == 0:
                    first[code] = days_ago[j]
                    touched[n] = code
                    n += 1
                last[code] = days_ago[j]
                oldest = max(oldest, days_ago[j])
        for w in range(windows.size):
            bought, new = 0, 0
            for k in range(n):
                bought += last[touched[k]] <= windows[w]
                new += first[touched[k]] <= windows[w]
            if bought > 0 and oldest > windows[w]:
                result[i, w] = new / bought
        for k in range(n):
            first[touched[k]] = 0
    return result


@njit(cache=True)
def mix_drift(
    start: np.ndarray, days_ago: np.ndarray, codes: np.ndarray, values: np.ndarray, n_codes: int, pairs: np.ndarray
) -> np.ndarray:
    """Jensen–Shannon divergence (bits, 0 … 1) between the mix of [t − a, t) and of [t − b, t − a), rows (a, b) of
    `pairs`: [customers, pairs]. NaN where either holds nothing. Source: Lin (1991)."""
    customers = start.size - 1
    result = np.full((customers, len(pairs)), np.nan)
    recent, before = np.zeros(n_codes), np.zeros(n_codes)
    touched = np.empty(n_codes, dtype=np.int64)
    known = np.zeros(n_codes, dtype=np.bool_)
    for i in range(customers):
        for w in range(len(pairs)):
            n, recent_total, before_total = 0, 0.0, 0.0
            for j in range(start[i + 1] - 1, start[i] - 1, -1):
                if days_ago[j] > pairs[w, 1]:
                    break
                code = codes[j]
                if code < 0:
                    continue
                if not known[code]:
                    known[code] = True
                    touched[n] = code
                    n += 1
                if days_ago[j] <= pairs[w, 0]:
                    recent[code] += values[j]
                    recent_total += values[j]
                else:
                    before[code] += values[j]
                    before_total += values[j]
            divergence = 0.0
            for k in range(n):
                code = touched[k]
                if recent_total > 0 and before_total > 0:
                    p, q = recent[code] / recent_total, before[code] / before_total
                    if p > 0:
                        divergence += 0.5 * p * np.log2(2.0 * p / (p + q))
                    if q > 0:
                        divergence += 0.5 * q * np.log2(2.0 * q / (p + q))
                recent[code] = before[code] = 0.0
                known[code] = False
            if recent_total > 0 and before_total > 0:
                result[i, w] = min(max(divergence, 0.0), 1.0)
    return result
