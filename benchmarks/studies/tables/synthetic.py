"""The regression of the MMoE paper: two tasks whose weights have a stated correlation.

With orthogonal unit vectors u₁, u₂ of d numbers, scale c and correlation p (Ma et al. 2018, §3.2)

    w₁ = c u₁,   w₂ = c (p u₁ + √(1 − p²) u₂)
    yₖ = wₖᵀx + Σᵢ sin(αᵢ wₖᵀx + βᵢ) + ε,   x ~ N(0, I),  ε ~ N(0, 0.01)

so that the cosine of the two weights is p. The frequencies αᵢ and phases βᵢ are the same for both tasks; the paper
gives d = 100 and leaves them open: here αᵢ = 0.3 i and βᵢ = i for i = 1 … 6, as far as they are stated.
"""

from __future__ import annotations

import numpy as np

from benchmarks.studies.tables.table import ROLES, Table

WIDTH = 100
SCALE = 1.0
WAVES = 6
NOISE = 0.1
ROWS = {"train": 100_000, "validation": 10_000, "test": 10_000}
CORRELATIONS = ("0.5", "0.6", "0.7", "0.8", "0.9", "1.0")
SEED = 2018


def tasks_of(correlation: str) -> tuple[str, str]:
    """The two tasks, with the correlation in their names: a study pools a task over its origins."""
    return f"first ({correlation})", f"second ({correlation})"


def load(correlation: str, rows: dict[str, int] | None = None) -> Table:
    """Rows of two tasks whose weights have this correlation.

    Args:
        correlation: p, as text.
        rows: of each role.
    """
    counts, p = rows or ROWS, float(correlation)
    chance = np.random.default_rng(SEED)
    one, two = np.linalg.qr(chance.standard_normal((WIDTH, 2)))[0].T
    weights = SCALE * np.stack([one, p * one + np.sqrt(1 - p * p) * two])  # [2, d]
    x = chance.standard_normal((sum(counts.values()), WIDTH)).astype(np.float32)
    along = x @ weights.T  # [R, 2]
    waves = np.arange(1, WAVES + 1)
    y = along + np.sin(0.3 * waves * along[..., None] + waves).sum(-1) + NOISE * chance.standard_normal(along.shape)
    labels = {task: y[:, i].astype(np.float32) for i, task in enumerate(tasks_of(correlation))}
    return Table(
        x,
        tuple(f"x{i}" for i in range(WIDTH)),
        np.zeros((len(x), 0), dtype=np.int32),
        (),
        (),
        labels,
        dict.fromkeys(labels, "regression"),
        np.repeat(np.array(ROLES), [counts[role] for role in ROLES]),
    )
