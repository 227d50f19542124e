"""Farthest-point samples of many point clouds: few points that leave no point of the cloud far away.

The first point is the lexicographically smallest, each next one the point farthest from those chosen; ties go to the
lexicographically smaller. Points that are equal are interchangeable, so the sample does not depend on their order.
Source: Gonzalez, "Clustering to minimize the maximum intercluster distance" (1985); FEATURES §3.3.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _smaller(points: np.ndarray, i: int, j: int) -> bool:
    for k in range(points.shape[1]):
        if points[i, k] != points[j, k]:
            return points[i, k] < points[j, k]
    return False


@njit(cache=True)
def farthest_points(
    points: np.ndarray, first: np.ndarray, last: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most `most` points of each cloud `points[first[c]:last[c]]` (float64 [M, D]); smaller clouds stay whole.

    Returns points [M', D] and the first and last of each cloud in them, int64 [C]. A sampled cloud has no two equal
    points. O(N · most) for a cloud of N points.
    """
    clouds, width = first.size, points.shape[1]
    ends = np.zeros(clouds + 1, np.int64)
    for c in range(clouds):
        ends[c + 1] = ends[c] + min(last[c] - first[c], most)
    sampled = np.empty((ends[clouds], width))
    at, starts, stops = 0, np.empty(clouds, np.int64), np.empty(clouds, np.int64)
    for c in range(clouds):
        starts[c] = at
        n = last[c] - first[c]
        cloud = points[first[c] : last[c]]
        if n <= most:
            for i in range(n):
                for k in range(width):
                    sampled[at + i, k] = cloud[i, k]
            at += n
        else:
            at = _sample(cloud, most, sampled, at)
        stops[c] = at
    return sampled[:at], starts, stops


@njit(cache=True)
def _sample(cloud: np.ndarray, most: int, sampled: np.ndarray, at: int) -> int:
    n, width = cloud.shape
    chosen = 0
    for i in range(1, n):
        if _smaller(cloud, i, chosen):
            chosen = i
    columns = cloud.T.copy()
    nearest, away = np.full(n, np.inf), np.empty(n)
    for _ in range(most):
        for k in range(width):
            sampled[at, k] = cloud[chosen, k]
        at += 1
        _approach(columns, chosen, away, nearest)
        farthest, following = _largest(nearest), -1
        if farthest == 0.0:
            break  # every point is chosen, or equal to one that is
        for i in range(n):
            if nearest[i] == farthest and (following < 0 or _smaller(cloud, i, following)):
                following = i
        chosen = following
    return at


@njit(cache=True)
def _approach(columns: np.ndarray, chosen: int, away: np.ndarray, nearest: np.ndarray) -> None:
    """`nearest` [n], squared distances to those chosen before, with one more; `columns` [D, n], `away` scratch."""
    away[:] = 0.0
    for k in range(columns.shape[0]):
        column, here = columns[k], columns[k, chosen]
        for i in range(away.size):
            difference = column[i] - here
            away[i] += difference * difference
    for i in range(away.size):
        nearest[i] = away[i] if away[i] < nearest[i] else nearest[i]


@njit(cache=True, fastmath={"nnan", "nsz"})
def _largest(values: np.ndarray) -> float:
    """The largest of numbers ≥ 0, in whatever order they are compared."""
    largest = 0.0
    for i in range(values.size):
        largest = values[i] if values[i] > largest else largest
    return largest
