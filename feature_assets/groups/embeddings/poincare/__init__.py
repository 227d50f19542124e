"""Poincaré group: position of a customer's purchases in three trees, each embedded in its own unit ball.

Merchant categories (8 dimensions), product categories (8) and regions (4). A customer's position is the Einstein
midpoint of their purchases, weighted by spend (a line weighs at least 0.01, so that free items count). Their region is
the midpoint of the regions of their merchants and of their home, which weighs as much as all merchants together. A
category that is new since the fit takes the position of its nearest known ancestor. A customer without information on a
tree is at its root; a customer without information on any tree has no values (null). Trees that the data set does not
have are *absent*: not in `channels_present` of the state, and 0 in the array.
Source: FEATURES §3.6; Nickel & Kiela (2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from feature_assets.events.numbers import sum_at
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values
from feature_assets.groups.embeddings.poincare.disk import disk
from feature_assets.groups.embeddings.poincare.training import embed
from feature_assets.groups.embeddings.poincare.tree import Path, Tree, bought_nodes, bought_paths, home_paths
from feature_assets.kernels.poincare import midpoints

__all__ = ["DIMENSIONS", "GROUP", "Poincare", "disk", "line_weights"]

DIMENSIONS = {"merchant": 8, "product": 8, "region": 4}
CHANNELS = tuple(f"{tree}_{i}" for tree, d in DIMENSIONS.items() for i in range(d))
LEAST = 0.01  # smallest weight of a line
_CATALOGUES = ("merchant", "product")
_HOME = ("region_l1", "region_l2")


class Poincare(FeatureGroup):
    """Coordinates in the trees. Fitted: the trees and the positions of their nodes."""

    name = "poincare"
    description = "Hyperbolic coordinates of a customer in the trees of merchant categories, products and regions"
    side_inputs = (
        SideInput(
            "hierarchy",
            "Poincaré coordinates: merchant category 8, product category 8, region 4, each in its own unit ball",
            (len(CHANNELS),),
            pl.Float32,
            CHANNELS,
        ),
    )
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays `<tree>_points` float64 [n, d], `<tree>_parent` [n]; meta: names of the nodes, quality (MAP …),
        channels_present."""
        arrays: dict[str, np.ndarray] = {}
        names: dict[str, list[str]] = {}
        quality: dict[str, dict[str, float]] = {}
        for which, paths in _paths(training.views).items():
            if not paths:
                continue
            tree = Tree.of(paths)
            fitted = embed(tree, DIMENSIONS[which], training.seed)
            arrays |= {f"{which}_points": fitted.points, f"{which}_parent": tree.parent}
            names[which] = tree.names
            quality[which] = fitted.quality
        present = [channel for channel in CHANNELS if channel.split("_")[0] in names]
        return GroupState(
            arrays, {"names": names, "quality": quality, "channels": list(CHANNELS), "channels_present": present}
        )

    def _values(self, inputs: Inputs) -> Values:
        """Side input hierarchy [20], null for a customer without a purchase or a home."""
        view, state = inputs.view, inputs.state
        part = view.purchases
        weight = line_weights(part.values("amount"))
        start = part.start
        known = np.zeros(part.customers, dtype=bool)
        made = []
        for which, dimensions in DIMENSIONS.items():
            points = state.arrays.get(f"{which}_points")
            if points is None:
                made.append(np.zeros((part.customers, dimensions)))
                continue
            tree = Tree.of_parts(state.meta["names"][which], state.arrays[f"{which}_parent"])
            if which == "region":
                found = _regions(view, tree, points, start, weight)
            else:
                found = midpoints(start, bought_nodes(view, tree, which), weight, points)
            some = np.isfinite(found[:, 0])
            known |= some
            made.append(np.where(some[:, None], found, points[0]))
        return Values(sides={"hierarchy": np.concatenate(made, axis=1)}, known={"hierarchy": known})


def line_weights(amount: np.ndarray) -> np.ndarray:
    """Weight of each purchase line in a midpoint, float64: the amount paid, at least `LEAST`."""
    return np.maximum(np.nan_to_num(amount), LEAST)


def _paths(views: Sequence[View]) -> dict[str, set[Path]]:
    """Paths of each tree that occur before the training dates."""
    found: dict[str, set[Path]] = {
        which: bought_paths(views, which) if views[0].has(f"{which}s") else set() for which in _CATALOGUES
    }
    found["region"] = bought_paths(views, "merchant", _HOME[:1]) if views[0].has("merchants") else set()
    levels = [level for level in _HOME if level in views[0].customers.columns]
    if levels:
        for view in views:
            found["region"].update(path for path in home_paths(view, levels).paths if path)
    return found


def _regions(view: View, tree: Tree, points: np.ndarray, start: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Midpoints [customers, d] of merchants' regions and home; NaN where neither is known."""
    part = view.purchases
    customers = part.customers
    bought = np.full(len(part.row), -1, dtype=np.int64)
    if view.has("merchants"):
        bought = bought_nodes(view, tree, "merchant", _HOME[:1])
    levels = [level for level in _HOME if level in view.customers.columns]
    home = np.full(customers, -1, dtype=np.int64)
    if levels:
        home = tree.nodes(home_paths(view, levels))[:-1]  # without that of null
    spent = sum_at(part.row, np.where(bought >= 0, weight, 0.0), customers)
    order = np.argsort(np.concatenate([part.row, np.arange(customers)]), kind="stable")  # home behind the lines
    node = np.concatenate([bought, home])[order]
    return midpoints(
        start + np.arange(customers + 1),
        node,
        np.concatenate([weight, np.where(spent > 0, spent, 1.0)])[order],
        points,
    )


GROUP = Poincare()
