"""Poincaré ball: an epoch of Riemannian SGD on the edges of a tree, weighted midpoints, and reconstruction ranks.

All points lie in the open unit ball, d(x, y) = arcosh(1 + 2‖x − y‖² / ((1 − ‖x‖²)(1 − ‖y‖²))), curvature −1.
Sources: Nickel & Kiela (2017), Poincaré Embeddings for Learning Hierarchical Representations; Ungar (2008), Analytic
Hyperbolic Geometry (Einstein midpoint). Tests hold an epoch against geoopt's `RiemannianSGD` and midpoints against its
`weighted_midpoint`.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _distance_parts(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """‖x‖², ‖y‖², x·y and cosh d(x, y)."""
    xx, yy, xy, apart = 0.0, 0.0, 0.0, 0.0
    for j in range(x.size):
        xx += x[j] * x[j]
        yy += y[j] * y[j]
        xy += x[j] * y[j]
        apart += (x[j] - y[j]) * (x[j] - y[j])
    return xx, yy, xy, 1.0 + 2.0 * apart / ((1.0 - xx) * (1.0 - yy))


@njit(cache=True)
def _add_distance(x: np.ndarray, y: np.ndarray, weight: float, grad_x: np.ndarray, grad_y: np.ndarray) -> None:
    """Add `weight` times the Euclidean gradient of d(x, y); nothing where x = y, where it has none."""
    xx, yy, xy, cosh = _distance_parts(x, y)
    if cosh <= 1.0 + 1e-12:
        return
    a, b, sinh = 1.0 - xx, 1.0 - yy, np.sqrt(cosh * cosh - 1.0)
    of_x, of_y = weight * 4.0 / (b * sinh), weight * 4.0 / (a * sinh)
    along_x, along_y = (yy - 2.0 * xy + 1.0) / (a * a), (xx - 2.0 * xy + 1.0) / (b * b)
    for j in range(x.size):
        grad_x[j] += of_x * (along_x * x[j] - y[j] / a)
        grad_y[j] += of_y * (along_y * y[j] - x[j] / b)


@njit(cache=True)
def _add_order(
    child: np.ndarray, ancestor: np.ndarray, order: float, margin: float, grad_c: np.ndarray, grad_a: np.ndarray
) -> float:
    """The hinge order · max(0, r(ancestor) − r(child) + margin) of the hyperbolic radii r = 2 artanh ‖x‖, and its
    Euclidean gradient added."""
    c, a = np.sqrt((child * child).sum()), np.sqrt((ancestor * ancestor).sum())
    short = 2.0 * np.arctanh(a) - 2.0 * np.arctanh(c) + margin
    if short <= 0.0:
        return 0.0
    for j in range(child.size):
        if c > 0.0:
            grad_c[j] -= order * 2.0 / (1.0 - c * c) * child[j] / c
        if a > 0.0:
            grad_a[j] += order * 2.0 / (1.0 - a * a) * ancestor[j] / a
    return order * short


@njit(cache=True)
def _retract(point: np.ndarray, gradient: np.ndarray, rate: float, limit: float) -> None:
    """x ← x − rate · (1 − ‖x‖²)²/4 · gradient, drawn back to norm `limit`: N&K's retraction, eq. 5."""
    size = 0.0
    for j in range(point.size):
        size += point[j] * point[j]
    step, size = rate * (1.0 - size) * (1.0 - size) / 4.0, 0.0
    for j in range(point.size):
        point[j] -= step * gradient[j]
        size += point[j] * point[j]
    if size > limit * limit:
        shrink = limit / np.sqrt(size)
        for j in range(point.size):
            point[j] *= shrink


@njit(cache=True)
def rsgd_epoch(
    points: np.ndarray,
    child: np.ndarray,
    ancestor: np.ndarray,
    negatives: np.ndarray,
    parent: np.ndarray,
    rate: float,
    batch: int,
    order: float,
    margin: float,
    limit: float,
) -> float:
    """One pass of Riemannian SGD over E edges (child, ancestor) of a tree's transitive closure; `points` change.

    The loss of an edge (u, v) with sampled others w is −log(e^−d(u,v) / (e^−d(u,v) + Σ e^−d(u,w))), plus the hinge that
    keeps an ancestor nearer to the origin. A sampled w that is u or an ancestor of u does not count.

    Args:
        points: float64 [n, d], norms below 1.
        child, ancestor: int64 [E], in the order of the steps.
        negatives: int64 [E, K] sampled nodes.
        parent: int64 [n], −1 of the root.
        rate: learning rate; the gradient of a batch is the sum over its edges.
        batch: edges a step.
        order, margin: weight and margin (hyperbolic units) of the hinge.
        limit: largest norm.

    Returns:
        The mean loss an edge, each at the points of its step.
    """
    n, d = points.shape
    width = negatives.shape[1] + 1
    gradient = np.zeros((n, d))
    seen = np.full(n, -1, dtype=np.int64)
    touched = np.empty(batch * (width + 1), dtype=np.int64)
    others, distance = np.empty(width, dtype=np.int64), np.empty(width)
    total = 0.0
    for first in range(0, child.size, batch):
        count = 0
        for e in range(first, min(first + batch, child.size)):
            u, m = child[e], 1
            others[0] = ancestor[e]
            for k in range(width - 1):
                w, up = negatives[e, k], u
                while up >= 0 and up != w:
                    up = parent[up]
                if up < 0:
                    others[m] = w
                    m += 1
            nearest = np.inf
            for k in range(m):
                distance[k] = np.arccosh(_distance_parts(points[u], points[others[k]])[3])
                nearest = min(nearest, distance[k])
            z = 0.0
            for k in range(m):
                z += np.exp(nearest - distance[k])
            total += distance[0] - nearest + np.log(z)
            for k in range(-1, m):
                w = u if k < 0 else others[k]
                if seen[w] != first:
                    seen[w] = first
                    touched[count] = w
                    count += 1
                    gradient[w, :] = 0.0
            for k in range(m):
                weight = (1.0 if k == 0 else 0.0) - np.exp(nearest - distance[k]) / z
                _add_distance(points[u], points[others[k]], weight, gradient[u], gradient[others[k]])
            if order > 0.0:
                v = others[0]
                total += _add_order(points[u], points[v], order, margin, gradient[u], gradient[v])
        for i in range(count):
            _retract(points[touched[i]], gradient[touched[i]], rate, limit)
    return total / max(child.size, 1)


@njit(cache=True)
def reconstruction(points: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Average precision of each node's ancestors among all nodes by distance, float64 [n]; NaN for the root.

    Source: Nickel & Kiela (2017) §4.1: an ancestor is ranked among the nodes that are not ancestors.
    """
    n = points.shape[0]
    result = np.full(n, np.nan)
    cosh = np.empty(n)
    for u in range(n):
        if parent[u] < 0:
            continue
        for w in range(n):
            cosh[w] = _distance_parts(points[u], points[w])[3]
        cosh[u] = np.inf
        related, up = 0, parent[u]
        while up >= 0:
            related += 1
            up = parent[up]
        own, up = np.empty(related), parent[u]
        for k in range(related):
            own[k] = cosh[up]
            cosh[up] = np.inf
            up = parent[up]
        own.sort()
        precision = 0.0
        for k in range(related):
            nearer = 0
            for w in range(n):
                if cosh[w] <= own[k]:
                    nearer += 1
            precision += (k + 1.0) / (k + 1.0 + nearer)
        result[u] = precision / related
    return result


@njit(cache=True)
def midpoints(start: np.ndarray, node: np.ndarray, weight: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Einstein midpoint of each customer's nodes, float64 [customers, d]; NaN where there is none.

    In the Klein model it is Σ w γ k / Σ w γ with Lorentz factors γ; in the Poincaré ball γ k = λ p and γ = λ − 1 with
    λ = 2 / (1 − ‖p‖²), and the way back is k / (1 + √(1 − ‖k‖²)).

    Args:
        start: int64 [customers + 1]; items of customer i are start[i] … start[i + 1].
        node: int [items]; −1 = unknown, left out.
        weight: float64 [items], > 0.
        points: float64 [n, d].
    """
    customers, d = start.size - 1, points.shape[1]
    factor = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        factor[i] = 2.0 / (1.0 - (points[i] * points[i]).sum())
    result = np.full((customers, d), np.nan)
    klein = np.empty(d)
    for i in range(customers):
        total = 0.0
        klein[:] = 0.0
        for e in range(start[i], start[i + 1]):
            p = node[e]
            if p < 0:
                continue
            total += weight[e] * (factor[p] - 1.0)
            lifted = weight[e] * factor[p]
            for j in range(d):
                klein[j] += lifted * points[p, j]
        if total <= 0.0:
            continue
        size = 0.0
        for j in range(d):
            klein[j] /= total
            size += klein[j] * klein[j]
        back = 1.0 + np.sqrt(max(1.0 - size, 0.0))
        for j in range(d):
            result[i, j] = klein[j] / back
    return result
