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
def _size(x: np.ndarray) -> float:
    """‖x‖²."""
    total = 0.0
    for j in range(x.size):
        total += x[j] * x[j]
    return total


@njit(cache=True)
def _above_one(x: np.ndarray, y: np.ndarray, inside_x: float, inside_y: float) -> float:
    """cosh d(x, y) − 1, where inside = 1 − ‖·‖²."""
    apart = 0.0
    for j in range(x.size):
        apart += (x[j] - y[j]) * (x[j] - y[j])
    return 2.0 * apart / (inside_x * inside_y)


@njit(cache=True)
def _add_distance(
    x: np.ndarray,
    y: np.ndarray,
    inside_x: float,
    inside_y: float,
    above: float,
    weight: float,
    grad_x: np.ndarray,
    grad_y: np.ndarray,
) -> None:
    """Add `weight` times the Euclidean gradient of d(x, y), N&K eq. 4; nothing where x = y, where it has none.

    `above` is cosh d − 1; x·y follows from ‖x − y‖² = above · inside_x · inside_y / 2.
    """
    if above <= 1e-12:
        return
    sinh = np.sqrt(above * (above + 2.0))
    apart = above * inside_x * inside_y / 2.0
    of_x, of_y = weight * 4.0 / (inside_y * sinh), weight * 4.0 / (inside_x * sinh)
    # ‖y‖² − 2 x·y + 1 = ‖x − y‖² + 1 − ‖x‖²
    along_x = of_x * (apart + inside_x) / (inside_x * inside_x)
    along_y = of_y * (apart + inside_y) / (inside_y * inside_y)
    across_x, across_y = of_x / inside_x, of_y / inside_y
    for j in range(x.size):
        grad_x[j] += along_x * x[j] - across_x * y[j]
        grad_y[j] += along_y * y[j] - across_y * x[j]


@njit(cache=True)
def _add_order(
    child: np.ndarray, ancestor: np.ndarray, order: float, margin: float, grad_c: np.ndarray, grad_a: np.ndarray
) -> float:
    """The hinge order · max(0, r(ancestor) − r(child) + margin) of the hyperbolic radii r = 2 artanh ‖x‖, and its
    Euclidean gradient added."""
    c, a = np.sqrt(_size(child)), np.sqrt(_size(ancestor))
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
    inside = 1.0 - _size(point)
    step, size = rate * inside * inside / 4.0, 0.0
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
    others, inside, above, near = np.empty(width, dtype=np.int64), np.empty(width), np.empty(width), np.empty(width)
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
            mine, z = 1.0 - _size(points[u]), 0.0
            for k in range(m):
                inside[k] = 1.0 - _size(points[others[k]])
                above[k] = _above_one(points[u], points[others[k]], mine, inside[k])
                near[k] = 1.0 / (1.0 + above[k] + np.sqrt(above[k] * (above[k] + 2.0)))  # e^−d
                z += near[k]
            total += np.log(z / near[0])
            for k in range(-1, m):
                w = u if k < 0 else others[k]
                if seen[w] != first:
                    seen[w] = first
                    touched[count] = w
                    count += 1
                    gradient[w, :] = 0.0
            for k in range(m):
                w, weight = others[k], (1.0 if k == 0 else 0.0) - near[k] / z
                _add_distance(points[u], points[w], mine, inside[k], above[k], weight, gradient[u], gradient[w])
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
    far, inside = np.empty(n), np.empty(n)
    for u in range(n):
        inside[u] = 1.0 - _size(points[u])
    for u in range(n):
        if parent[u] < 0:
            continue
        for w in range(n):
            far[w] = _above_one(points[u], points[w], inside[u], inside[w])  # rises with the distance
        far[u] = np.inf
        related, up = 0, parent[u]
        while up >= 0:
            related += 1
            up = parent[up]
        own, up = np.empty(related), parent[u]
        for k in range(related):
            own[k] = far[up]
            far[up] = np.inf
            up = parent[up]
        own.sort()
        precision = 0.0
        for k in range(related):
            nearer = 0
            for w in range(n):
                if far[w] <= own[k]:
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
        factor[i] = 2.0 / (1.0 - _size(points[i]))
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
