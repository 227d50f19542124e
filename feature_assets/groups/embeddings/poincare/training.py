"""Embedding of a tree in a Poincaré ball, and its quality.

Nickel & Kiela (2017): Riemannian SGD on the transitive closure, 10 sampled negatives an edge, a burn-in of a tenth of
the epochs at a tenth of the rate. Departures from the paper:
- the start is not noise near 0. Each node starts in a direction drawn by its *name*, close to its parent's,
  further out with its depth: a refit on similar data begins, and ends, in a similar place;
- the rate falls to a tenth over the epochs;
- a hinge keeps an ancestor nearer to the origin than what lies below it, which the paper's loss only favours;
- norms end at 0.9995 (hyperbolic radius 8.3) instead of 1 − 1e-5: in a midpoint a node counts with its Lorentz factor,
  which would otherwise differ a hundredfold between leaves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from feature_assets.groups.embeddings.axes import drawn_by_name
from feature_assets.groups.embeddings.poincare.tree import Tree
from feature_assets.kernels.poincare import reconstruction, rsgd_epoch

LIMIT = 0.9995
RATE, BATCH, NEGATIVES = 1.0, 10, 10
ORDER, MARGIN = 0.5, 0.1
FIRST_RADIUS = 0.6  # hyperbolic radius of the start, a level
TURNS = (1.0, 0.3, 0.15)  # size of the turn at depth 1, 2, 3
EPOCHS = (50, 200)  # fewest (large trees) and most (small ones)
VISITS = 500_000  # edges seen in all, where EPOCHS allows
MOST_VISITS = 3_000_000  # bounds the time of very large trees: about 5 s


@dataclass(frozen=True)
class Embedding:
    """A tree's points, float64 [n, d], and their quality: nodes, edges, epochs, map, parents_nearer."""

    points: np.ndarray
    quality: dict[str, float]


def start(tree: Tree, dimensions: int) -> np.ndarray:
    """Initial points, float64 [n, d]: the root at 0, directions by name, radius by depth."""
    directions, points = np.zeros((len(tree), dimensions)), np.zeros((len(tree), dimensions))
    for node, path in enumerate(tree.paths):
        if not path:
            continue
        drawn = drawn_by_name(json.dumps(path), dimensions)
        turn = TURNS[min(len(path), len(TURNS)) - 1] * drawn / np.sqrt((drawn**2).sum())
        directions[node] = directions[tree.parent[node]] + turn
        directions[node] /= np.sqrt((directions[node] ** 2).sum())
        points[node] = np.tanh(FIRST_RADIUS * len(path) / 2) * directions[node]
    return points


def embed(tree: Tree, dimensions: int, seed: int, epochs: int | None = None) -> Embedding:
    """Points of the tree's nodes in the ball; the same for the same tree and seed.

    Args:
        tree: at least the root.
        dimensions: of the ball, ≥ 2.
        seed: of the order of the edges and of the negatives.
        epochs: passes over the closure; by default from its size.
    """
    child, ancestor = tree.closure()
    points = start(tree, dimensions)
    if epochs is None:
        epochs = int(np.clip(VISITS // max(len(child), 1), *EPOCHS))
        epochs = max(1, min(epochs, MOST_VISITS // max(len(child), 1)))
    rng = np.random.default_rng(seed)
    burn_in = max(epochs // 10, 1)
    for epoch in range(epochs):
        order = rng.permutation(len(child))
        negatives = rng.integers(0, len(tree), (len(child), NEGATIVES))
        done = max(epoch - burn_in, 0) / max(epochs - burn_in, 1)
        rate = RATE / 10 if epoch < burn_in else RATE * (1 - 0.9 * done)
        edges = child[order], ancestor[order]
        rsgd_epoch(points, *edges, negatives, tree.parent, rate, BATCH, ORDER, MARGIN, LIMIT)
    return Embedding(points, {"nodes": len(tree), "edges": len(child), "epochs": epochs, **quality(tree, points)})


def quality(tree: Tree, points: np.ndarray) -> dict[str, float]:
    """`map`: mean average precision of reconstructing each node's ancestors by distance; `parents_nearer`: share of
    nodes whose parent lies nearer to the origin. Both 1 for a tree of the root alone."""
    if len(tree) == 1:
        return {"map": 1.0, "parents_nearer": 1.0}
    radius = np.sqrt((points**2).sum(axis=1))
    return {
        "map": float(reconstruction(points, tree.parent)[1:].mean()),
        "parents_nearer": float((radius[tree.parent[1:]] < radius[1:]).mean()),
    }
