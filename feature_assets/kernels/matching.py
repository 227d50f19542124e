"""Distances between two small persistence diagrams: Wasserstein-1 and bottleneck, points at their L∞ distance.

A diagram is an array [N, ≥ 2] of (birth, death), finite, death ≥ birth. A pair may be matched with a pair of the other
diagram or with its nearest point of the diagonal, half its persistence away. Oracles: `gudhi.wasserstein`,
`gudhi.bottleneck_distance`, scipy's `linear_sum_assignment`.
Source: FEATURES §3.3; Kerber, Morozov & Nigmetov, "Geometry helps to compare persistence diagrams" (2017).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _ground(first: np.ndarray, second: np.ndarray, i: int, j: int) -> float:
    return max(abs(float(first[i, 0]) - second[j, 0]), abs(float(first[i, 1]) - second[j, 1]))


@njit(cache=True)
def _half(diagram: np.ndarray, i: int) -> float:
    return 0.5 * (float(diagram[i, 1]) - diagram[i, 0])


@njit(cache=True)
def wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Wasserstein-1 distance: the least sum of L∞ lengths over all matchings (GUDHI: order 1, internal_p ∞).

    Sending everything to the diagonal costs the sum of the halves; matching i with j saves half_i + half_j − d_ij where
    that is positive. The most that can be saved is an assignment, solved by shortest augmenting paths (Hungarian
    method): O(N² M) for N ≤ M.
    """
    if first.shape[0] > second.shape[0]:
        first, second = second, first
    n, m = first.shape[0], second.shape[0]
    cost = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            cost[i, j] = min(0.0, _ground(first, second, i, j) - _half(first, i) - _half(second, j))
    row_price, column_price = np.zeros(n), np.zeros(m + 1)
    owner, previous = np.full(m + 1, -1), np.zeros(m + 1, np.int64)  # column m is the row that looks for a place
    for i in range(n):
        owner[m] = i
        at = m
        nearest, seen = np.full(m, np.inf), np.zeros(m + 1, np.bool_)
        while owner[at] >= 0:
            seen[at] = True
            row, step, following = owner[at], np.inf, -1
            for j in range(m):
                if seen[j]:
                    continue
                reduced = cost[row, j] - row_price[row] - column_price[j]
                if reduced < nearest[j]:
                    nearest[j], previous[j] = reduced, at
                if nearest[j] < step:
                    step, following = nearest[j], j
            for j in range(m + 1):
                if seen[j]:
                    row_price[owner[j]] += step
                    column_price[j] -= step
                elif j < m:
                    nearest[j] -= step
            at = following
        while at != m:
            owner[at] = owner[previous[at]]
            at = previous[at]
    total, matched = 0.0, np.zeros(n, np.bool_)
    for j in range(m):
        if owner[j] >= 0 and cost[owner[j], j] < 0:
            matched[owner[j]] = True
            total += _ground(first, second, owner[j], j)
        else:
            total += _half(second, j)
    for i in range(n):
        if not matched[i]:
            total += _half(first, i)
    return total


@njit(cache=True)
def wasserstein_line(first: np.ndarray, second: np.ndarray) -> float:
    """`wasserstein` of two diagrams whose births are all equal and which are sorted by persistence, as H0 is: O(N M).

    On a line some best matching does not cross, so it is an alignment of the two sorted sequences in which a gap costs
    half the persistence.
    """
    n, m = first.shape[0], second.shape[0]
    best = np.empty(m + 1)
    best[0] = 0.0
    for j in range(m):
        best[j + 1] = best[j] + _half(second, j)
    for i in range(n):
        diagonal, best[0] = best[0], best[0] + _half(first, i)
        for j in range(m):
            matched = diagonal + abs(float(first[i, 1]) - second[j, 1])
            diagonal = best[j + 1]
            best[j + 1] = min(matched, min(best[j + 1] + _half(first, i), best[j] + _half(second, j)))
    return float(best[m])


@njit(cache=True)
def bottleneck(first: np.ndarray, second: np.ndarray) -> float:
    """Bottleneck distance: the least possible longest edge of a matching.

    A length ε will do when the pairs of each diagram whose half persistence exceeds ε can all be matched along edges of
    at most ε; each side may be checked apart (Mendelsohn & Dulmage 1958). Binary search over the lengths that occur,
    from what the pair that is hardest to place needs to what it costs to match the diagrams in their order.
    """
    n, m = first.shape[0], second.shape[0]
    nearest = np.empty(n + m)  # of each pair: to the diagonal or a pair of the other diagram
    ordered = 0.0
    for i in range(n):
        nearest[i] = _half(first, i)
        if i >= m:
            ordered = max(ordered, nearest[i])
    for j in range(m):
        nearest[n + j] = _half(second, j)
        if j >= n:
            ordered = max(ordered, nearest[n + j])
        else:
            ordered = max(ordered, min(_ground(first, second, j, j), max(nearest[j], nearest[n + j])))
    lengths, most = np.empty(n * m + n + m + 1), 0
    for k in range(n + m):
        lengths[k] = nearest[k]
    at = n + m
    for i in range(n):
        for j in range(m):
            length = _ground(first, second, i, j)
            lengths[at] = length
            at += 1
            nearest[i] = min(nearest[i], length)
            nearest[n + j] = min(nearest[n + j], length)
    lengths[at] = 0.0
    needed = 0.0
    for k in range(n + m):
        needed = max(needed, nearest[k])
    for k in range(lengths.size):
        if needed <= lengths[k] <= ordered:
            lengths[most] = lengths[k]
            most += 1
    lengths = np.sort(lengths[:most])
    low, high = 0, lengths.size - 1
    while low < high:
        middle = (low + high) // 2
        if _covers(first, second, lengths[middle]) and _covers(second, first, lengths[middle]):
            high = middle
        else:
            low = middle + 1
    return lengths[low]


@njit(cache=True)
def _covers(first: np.ndarray, second: np.ndarray, limit: float) -> bool:
    """Whether every pair of `first` further than `limit` from the diagonal can have a pair of `second` of its own."""
    n, m = first.shape[0], second.shape[0]
    owner, via, queue, of = np.full(m, -1), np.full(m, -1), np.empty(n + 1, np.int64), np.full(n, -1)
    for i in range(n):
        if _half(first, i) <= limit:
            continue
        via[:] = -1
        queue[0], head, tail, free = i, 0, 1, -1
        while head < tail and free < 0:
            row = queue[head]
            head += 1
            for j in range(m):
                if via[j] < 0 and _ground(first, second, row, j) <= limit:
                    via[j] = row
                    if owner[j] < 0:
                        free = j
                        break
                    queue[tail] = owner[j]
                    tail += 1
        if free < 0:
            return False
        while free >= 0:
            row = via[free]
            before = of[row]
            of[row], owner[free] = free, row
            free = before if row != i else -1
    return True
