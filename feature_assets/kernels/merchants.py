"""Moves of a customer between merchants, from the ordered sequence of their visits.

Visits of customer i are `start[i]:start[i+1]`, oldest first; merchants are numbered from 0, −1 = unknown and left out.
Each function returns float64 [customers], NaN where the measure has no value.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def entropy_rate(start: np.ndarray, merchant: np.ndarray, longest: int) -> np.ndarray:
    """Entropy rate of the sequence in bits a visit by the Lempel–Ziv estimator (n ln n / Σ Λ_i) / ln 2, from two visits
    on; Λ_i is the length of the shortest run from i on that did not occur before i (to the end + 1 where all did).

    Only the `longest` newest visits count: the cost grows with their square.
    Source: Kontoyiannis et al. (1998); Song et al. (2010), Limits of Predictability in Human Mobility.
    """
    customers = start.size - 1
    result = np.full(customers, np.nan)
    visits = np.empty(longest, dtype=np.int64)
    for i in range(customers):
        n = 0
        e = start[i + 1] - 1
        while e >= start[i] and n < longest:
            if merchant[e] >= 0:
                visits[longest - 1 - n] = merchant[e]
                n += 1
            e -= 1
        if n < 2:
            continue
        s = visits[longest - n :]
        total = 0
        for a in range(n):
            best = 0
            for b in range(a):
                if best >= min(a - b, n - a):
                    break  # no later start can match longer
                length = 0
                while b + length < a and a + length < n and s[b + length] == s[a + length]:
                    length += 1
                best = max(best, length)
            total += best + 1
        result[i] = n * np.log(n) / total / np.log(2.0)
    return result


@njit(cache=True)
def exploration(start: np.ndarray, merchant: np.ndarray, merchants: int) -> np.ndarray:
    """Exponent μ of S(n) ~ n^μ, S the number of different merchants after n visits: the least-squares slope of ln S(n)
    on ln n, from three visits on. 1 = always a new one, 0 = always the same.

    Source: Song et al. (2010), Modelling the scaling properties of human mobility (Heaps' law).
    """
    customers = start.size - 1
    result = np.full(customers, np.nan)
    last = np.full(merchants, -1, dtype=np.int64)
    for i in range(customers):
        n, different = 0, 0
        sx, sy, sxx, sxy = 0.0, 0.0, 0.0, 0.0
        for e in range(start[i], start[i + 1]):
            m = merchant[e]
            if m < 0:
                continue
            n += 1
            if last[m] != i:
                last[m] = i
                different += 1
            x, y = np.log(float(n)), np.log(float(different))
            sx += x
            sy += y
            sxx += x * x
            sxy += x * y
        if n >= 3:
            result[i] = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    return result


@njit(cache=True)
def staying(start: np.ndarray, merchant: np.ndarray) -> np.ndarray:
    """Share of visits that are at the merchant of the visit before, from two visits on."""
    customers = start.size - 1
    result = np.full(customers, np.nan)
    for i in range(customers):
        before, pairs, same = -1, 0, 0
        for e in range(start[i], start[i + 1]):
            m = merchant[e]
            if m < 0:
                continue
            if before >= 0:
                pairs += 1
                if m == before:
                    same += 1
            before = m
        if pairs > 0:
            result[i] = same / pairs
    return result
