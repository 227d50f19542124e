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
    nearest = np.full(n, np.inf)
    for _ in range(most):
        for k in range(width):
            sampled[at, k] = cloud[chosen, k]
        at += 1
        farthest, following = 0.0, -1
        for i in range(n):
            total = 0.0
            for k in range(width):
                difference = cloud[i, k] - sampled[at - 1, k]
                total += difference * difference
            if total < nearest[i]:
                nearest[i] = total
            if nearest[i] > farthest or (nearest[i] == farthest and following >= 0 and _smaller(cloud, i, following)):
                farthest, following = nearest[i], i
        if following < 0:
            break  # every point is chosen, or equal to one that is
        chosen = following
    return at
