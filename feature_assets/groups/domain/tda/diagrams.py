"""Persistence diagrams of a View, computed once for all groups, and the diagram of one customer for a plot.

A window's cloud is sampled to at most `points` points (farthest points) and its diagram keeps at most `room` pairs, the
most persistent. The one infinite class of H0 is left out. Source: FEATURES §3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.domain.tda.points import Points, Scales, scaled_points
from feature_assets.kernels.farthest import farthest_points
from feature_assets.kernels.persistence import rips_diagrams

_CHUNK = 4096  # customers whose sampled points are in memory at a time


@dataclass(frozen=True)
class Cut:
    """A time window, days `newest` … `oldest` before t, and the size of its diagram: points, dimensions, pairs."""

    name: str
    newest: int
    oldest: int
    points: int
    max_dimension: int
    room: int


SHORT = Cut("short", 1, 90, 90, 1, 200)
LONG = Cut("long", 1, 365, 50, 2, 150)
STEP = 60  # days of one window of the phase transition
PHASES = tuple(Cut(f"phase {k}", 301 - STEP * k, 360 - STEP * k, 24, 1, 64) for k in range(6))  # oldest first


@dataclass(frozen=True)
class Diagrams:
    """`pairs` float32 [customers, room, 3] (birth, death, dimension), by dimension and then the most persistent first;
    `counts` int64 [customers, dimensions] of them. A customer with fewer than two different points has none."""

    pairs: np.ndarray
    counts: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """True for pairs that are real and not padding, bool [customers, room]."""
        return np.arange(self.pairs.shape[1])[None, :] < self.counts.sum(axis=1)[:, None]


def diagrams(view: View, state: GroupState, cut: Cut) -> Diagrams:
    """The diagrams of one window under a state's scales; kept on the view."""
    return view.shared(_diagrams, Scales.of(state), cut)


def _diagrams(view: View, scales: Scales, cut: Cut) -> Diagrams:
    return _make(view.shared(scaled_points, scales), cut)


def points_of(view: View, state: GroupState) -> Points:
    """The view's points under a state's scales; kept on the view."""
    return view.shared(scaled_points, Scales.of(state))


def _make(points: Points, cut: Cut, rows: Sequence[int] | None = None) -> Diagrams:
    first, last = points.between(cut.newest, cut.oldest)
    if rows is not None:
        first, last = first[list(rows)], last[list(rows)]
    pairs = np.zeros((len(first), cut.room, 3), dtype=np.float32)
    counts = np.zeros((len(first), cut.max_dimension + 1), dtype=np.int64)
    for begin in range(0, len(first), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        sampled, starts, stops = farthest_points(points.values, first[part], last[part], cut.points)
        pairs[part], counts[part] = rips_diagrams(sampled, starts, stops, cut.max_dimension, cut.room)
    return Diagrams(pairs, counts)


def sample_diagrams(view: View, state: GroupState, cut: Cut, rows: np.ndarray) -> Diagrams:
    """The diagrams of some customers (index into `view.customers`), for a fit."""
    return _make(points_of(view, state), cut, rows.tolist())


def diagram_of(view: View, state: GroupState, customer_id: str, cut: Cut) -> pl.DataFrame:
    """One customer's diagram for a plot: `dimension` Int8, `birth`, `death`, `persistence` Float32, one row
    a pair, in units of scaled distance; empty with fewer than two different points.

    Raises:
        KeyError: the view has no such customer.
    """
    row = view.customers["customer_id"].index_of(customer_id)
    if row is None:
        raise KeyError(f"no customer {customer_id!r} at {view.as_of}")
    found = _make(points_of(view, state), cut, [row])
    pairs = found.pairs[0][found.mask[0]]
    return pl.DataFrame(
        {
            "dimension": pairs[:, 2].astype(np.int8),
            "birth": pairs[:, 0],
            "death": pairs[:, 1],
            "persistence": pairs[:, 1] - pairs[:, 0],
        }
    )
