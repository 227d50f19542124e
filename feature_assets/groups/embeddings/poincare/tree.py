"""Trees of categories and regions: numbered nodes, and the node of each purchase.

A node is a path from the root, such as ("GROCERY", "CHEESE"); the root is (). Paths come from the catalogue tables,
which have no time; a tree holds those that occur in purchases before the training dates.
Source: FEATURES §3.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feature_assets.data.codes import Paths
from feature_assets.events.view import View

Path = tuple[str, ...]
LEVELS = ("category_l1", "category_l2", "category_l3")


@dataclass(frozen=True)
class Tree:
    """`paths[0]` is the root, the others follow by depth and then by name."""

    paths: tuple[Path, ...]

    @classmethod
    def of(cls, paths: Iterable[Sequence[str]]) -> Tree:
        """The tree of these paths and everything above them."""
        nodes = {tuple(path[:k]) for path in paths for k in range(len(path) + 1)} | {()}
        return cls(tuple(sorted(nodes, key=lambda path: (len(path), path))))

    @classmethod
    def of_parts(cls, names: Sequence[str], parent: np.ndarray) -> Tree:
        """The tree whose `names` and `parent` these are: how it is stored."""
        paths: list[Path] = []
        for name, up in zip(names, parent.tolist(), strict=True):
            paths.append((*paths[up], name) if up >= 0 else ())
        return cls(tuple(paths))

    @property
    def names(self) -> list[str]:
        """The last part of each path, "" of the root."""
        return [path[-1] if path else "" for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def index(self) -> dict[Path, int]:
        """Path → node."""
        return {path: node for node, path in enumerate(self.paths)}

    @cached_property
    def parent(self) -> np.ndarray:
        """int64 [n], −1 of the root."""
        return np.array([self.index[path[:-1]] if path else -1 for path in self.paths], dtype=np.int64)

    @cached_property
    def depth(self) -> np.ndarray:
        """int64 [n], 0 of the root."""
        return np.array([len(path) for path in self.paths], dtype=np.int64)

    def nearest(self, path: Sequence[str]) -> int:
        """The node of a path or, where the tree does not have it, of its nearest known ancestor."""
        known = tuple(path)
        while known not in self.index:
            known = known[:-1]
        return self.index[known]

    def nodes(self, where: Paths) -> np.ndarray:
        """The node of each value of a column, and last of null, int64 [values + 1]; −1 where unknown."""
        node_of = np.array([*(self.nearest(path) for path in where.paths), -1], dtype=np.int64)
        return node_of[where.path_of]

    def above(self, depth: int) -> np.ndarray:
        """The ancestor (or self) at most `depth` deep of each node, int64 [n]."""
        return np.array([self.index[path[:depth]] for path in self.paths], dtype=np.int64)

    def closure(self) -> tuple[np.ndarray, np.ndarray]:
        """Every pair of a node and an ancestor: two int64 [E]."""
        node = np.arange(len(self))
        below, above = [], []
        up = self.parent
        while (up >= 0).any():
            below.append(node[up >= 0])
            above.append(up[up >= 0])
            up = np.where(up >= 0, self.parent[up], -1)
        if not below:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return np.concatenate(below), np.concatenate(above)


def home_paths(view: View, levels: Sequence[str]) -> Paths:
    """Paths of the customers' own values of `levels`, one a customer of the view."""
    return Paths.of(view.customers.select(levels))


def bought_paths(views: Sequence[View], of: str, levels: Sequence[str] = LEVELS) -> set[Path]:
    """Paths by catalogue `of` ("product", "merchant") that occur in purchases before the views' dates."""
    seen: set[Path] = set()
    for view in views:
        where = view.catalogue_paths(of, levels)
        numbers = np.unique(where.path_of[view.purchases.codes(f"{of}_id")])
        seen.update(where.paths[i] for i in numbers[numbers >= 0].tolist())
    return seen


def bought_nodes(view: View, tree: Tree, of: str, levels: Sequence[str] = LEVELS) -> np.ndarray:
    """The tree's node of each purchase line by catalogue `of`, int64 [lines]; −1 where unknown."""
    return tree.nodes(view.catalogue_paths(of, levels))[view.purchases.codes(f"{of}_id")]
