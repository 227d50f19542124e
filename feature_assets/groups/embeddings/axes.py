"""Helpers of the groups with embeddings: axes fixed by names, first line of each customer, positions in a vocabulary.

An embedding is determined up to a rotation. It is rotated towards directions drawn by *name*, so that a refit on
similar data gives similar coordinates, in any process and on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from feature_assets.events.ragged import Events


def drawn_by_name(name: str, width: int) -> np.ndarray:
    """Standard normal numbers that depend on the name alone, float64 [width]."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).normal(size=width)


def fixed_axes(vectors: np.ndarray, names: Sequence[str], width: int) -> np.ndarray:
    """The rotation R [r, width], R Rᵀ = 1, that brings vectors [n, r] (r ≤ width) nearest to directions drawn by name.

    Singular vectors are known up to sign, and up to rotation where their values are close; the space that they span is
    not. The polar factor against fixed directions takes both freedoms away, and moves little when the data do.
    Source: orthogonal Procrustes problem, Schönemann (1966).
    """
    directions = np.stack([drawn_by_name(name, width) for name in names])
    left, _, right = np.linalg.svd(vectors.T @ directions, full_matrices=False)
    return left @ right


def numbered(part: Events, name: str, vocabulary: Sequence[str]) -> np.ndarray:
    """Position of each line's value in `vocabulary`, int64 [lines]; −1 for any other value and null."""
    rank = part.ranked(name, vocabulary)
    return np.where(rank == len(vocabulary), -1, rank)
