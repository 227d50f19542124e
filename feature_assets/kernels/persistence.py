"""Vietoris–Rips persistence diagrams (H0, H1, H2 over Z/2) of many small point clouds.

Births and deaths are lengths (not radii). H0's one endless class and pairs of no persistence are left out. Lengths are
rounded to float32, so diagrams are those of GUDHI within about 1e-6 of the cloud's size. GUDHI itself is the other
engine: slower by an order of magnitude, chosen by an argument or the environment variable `PLE_PERSISTENCE`.
Source: FEATURES §3.3, PERFORMANCE §1. The algorithm: `rips_cohomology.py`.
"""

from __future__ import annotations

import os
from typing import Final, Literal

import numpy as np

from feature_assets.kernels.rips_cohomology import MOST_POINTS, diagrams, keep

Engine = Literal["kernel", "gudhi"]
ENGINE_VARIABLE: Final = "PLE_PERSISTENCE"


def rips_diagrams(
    points: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    max_dimension: int,
    room: int,
    engine: Engine | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Persistence diagrams of C clouds, cloud c being `points[first[c]:last[c]]`.

    Args:
        points: float64 [M, D].
        first, last: int64 [C]; at most `MOST_POINTS` points a cloud.
        max_dimension: 1 or 2.
        room: most pairs kept of a cloud, the most persistent of all dimensions.
        engine: "kernel" (this module) or "gudhi" (the library, the same diagrams within 1e-6); by default what the
            environment variable `PLE_PERSISTENCE` says, else the kernel.

    Returns:
        pairs: float32 [C, room, 3], (birth, death, dimension), by dimension, then the most persistent first, 0 behind.
        counts: int64 [C, max_dimension + 1], pairs kept of each dimension.

    Raises:
        ValueError: a cloud is too large, or the dimension or engine is not one of the above.
    """
    chosen = engine or os.environ.get(ENGINE_VARIABLE, "kernel")
    if chosen not in ("kernel", "gudhi"):
        raise ValueError(f"persistence engine {chosen!r}: expected 'kernel' or 'gudhi' ({ENGINE_VARIABLE})")
    if max_dimension not in (1, 2):
        raise ValueError(f"max_dimension is {max_dimension}, expected 1 or 2")
    largest = int((last - first).max(initial=0))
    if largest > MOST_POINTS:
        raise ValueError(f"a cloud has {largest} points, at most {MOST_POINTS} are supported: sample it first")
    pairs = np.zeros((len(first), room, 3), dtype=np.float32)
    counts = np.zeros((len(first), max_dimension + 1), dtype=np.int64)
    if chosen == "gudhi":
        _library(points, first, last, max_dimension, pairs, counts)
    else:
        points = np.ascontiguousarray(points, dtype=np.float64)
        diagrams(points, first.astype(np.int64), last.astype(np.int64), largest, max_dimension, pairs, counts)
    return pairs, counts


def _library(
    points: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    max_dimension: int,
    pairs: np.ndarray,
    counts: np.ndarray,
) -> None:
    """The same by GUDHI's binding of Ripser."""
    from gudhi.sklearn.rips_persistence import RipsPersistence

    rips = RipsPersistence(homology_dimensions=list(range(max_dimension + 1)), homology_coeff_field=2)
    for c in range(len(first)):
        cloud = np.asarray(points[first[c] : last[c]], dtype=np.float64)
        if len(cloud) < 2:
            continue
        parts = rips.fit_transform([cloud])[0]
        found = np.concatenate([np.column_stack([d, np.full(len(d), k)]) for k, d in enumerate(parts)])
        found = found.astype(np.float32)[np.isfinite(found).all(axis=1)]
        found = found[found[:, 1] > found[:, 0]]
        births, deaths, dims = found[:, 0].copy(), found[:, 1].copy(), found[:, 2].astype(np.int64)
        keep(births, deaths, dims, len(found), pairs[c], counts[c])
