"""A fitted tree on a disk, for a plot of the Poincaré ball of categories.

The radius on the disk is the node's own hyperbolic radius, so distances from the origin are exact; the angle is that of
its two principal directions in the tangent space at the origin, so nodes of different further directions may look
closer than they are.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.group import GroupState
from feature_assets.groups.embeddings.poincare.tree import Tree

TREES = ("merchant", "product", "region")


def disk(state: GroupState, which: str, depth: int = 2) -> pl.DataFrame:
    """Nodes of tree `which` down to `depth` on the unit disk, one row a node, parents before children.

    Columns: node, parent (−1 of the root), depth, `name` (the last part of the path), `path`, x, y, and `radius`, the
    hyperbolic distance 2 artanh ‖p‖ from the origin.

    Raises:
        ValueError: the data set has no such tree.
    """
    present = [name for name in TREES if f"{name}_points" in state.arrays]
    if which not in present:
        raise ValueError(f"there is no tree {which!r} in this state; it has {present}")
    tree = Tree.of_parts(state.meta["names"][which], state.arrays[f"{which}_parent"])
    points = state.arrays[f"{which}_points"]
    shown = tree.depth <= depth
    flat = flatten(points)[shown]
    return pl.DataFrame(
        {
            "node": np.flatnonzero(shown),
            "parent": tree.parent[shown],
            "depth": tree.depth[shown],
            "name": [path[-1] if path else "" for path, show in zip(tree.paths, shown, strict=True) if show],
            "path": [" / ".join(path) for path, show in zip(tree.paths, shown, strict=True) if show],
            "x": flat[:, 0],
            "y": flat[:, 1],
            "radius": 2 * np.arctanh(np.sqrt((points[shown] ** 2).sum(axis=1))),
        }
    )


def flatten(points: np.ndarray) -> np.ndarray:
    """Points [n, d] of the ball on the disk, float64 [n, 2], norms kept: angles of the two principal directions.

    Source: tangent principal component analysis (Fletcher et al. 2004), at the origin, about it.
    """
    norm = np.sqrt((points**2).sum(axis=1, keepdims=True))
    tangent = np.where(norm > 0, 2 * np.arctanh(norm) / np.where(norm > 0, norm, 1.0), 0.0) * points
    _, vectors = np.linalg.eigh(tangent.T @ tangent)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # a fixed sign
    flat = tangent @ axes
    length = np.sqrt((flat**2).sum(axis=1, keepdims=True))
    return np.where(length > 0, flat / np.where(length > 0, length, 1.0) * norm, 0.0)
