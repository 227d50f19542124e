"""Draws that every part of the process shares: categories from weights, Markov chains, power laws. Vectorised."""

from __future__ import annotations

import numpy as np

BINS = 256  # transition probabilities are whole multiples of 1/256: a step is one table look-up


def zipf(n: int, power: float) -> np.ndarray:
    """Shares of n items that fall with rank^−power, sum 1."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -power
    return weights / weights.sum()


def pick(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    """One index a row, in proportion to weights [n, K] ≥ 0 with a positive sum. Int64 [n]."""
    cumulative = np.cumsum(weights, axis=1, dtype=np.float32)
    u = rng.random(len(weights), dtype=np.float32) * cumulative[:, -1]
    index = (cumulative <= u[:, None]).sum(axis=1)
    return np.minimum(index, weights.shape[1] - 1)


def pick_shared(rng: np.random.Generator, shares: np.ndarray, n: int) -> np.ndarray:
    """n indices in proportion to shares [K], the same for all. Int64 [n]."""
    cumulative = np.cumsum(shares)
    index = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.minimum(index, len(shares) - 1)


def gamma_rows(rng: np.random.Generator, means: np.ndarray, concentration: float) -> np.ndarray:
    """Dirichlet draws around means [n, K] (rows sum to 1): float32 [n, K], rows sum to 1, no zero."""
    draws = rng.standard_gamma(np.maximum(means * concentration, 0.05)).astype(np.float32) + np.float32(1e-6)
    return draws / draws.sum(axis=1, keepdims=True)


def logistic(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x))."""
    return 1.0 / (1.0 + np.exp(-x))


class Chain:
    """Markov chains of S states in G variants, all steps by look-up.

    Args:
        transitions: [G, S, S], rows sum to 1. Probabilities are rounded to multiples of 1/256: these define the chain.
    """

    def __init__(self, transitions: np.ndarray) -> None:
        groups, states, _ = transitions.shape
        edges = np.rint(np.cumsum(transitions, axis=2) * BINS).astype(np.int64)
        edges[:, :, -1] = BINS
        bins = np.arange(BINS)
        table = (bins[None, None, :, None] >= edges[:, :, None, :]).sum(axis=3)
        self.states = states
        self._table = table.astype(np.uint8).reshape(groups * states * BINS)

    def step(self, rng: np.random.Generator, group: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The next state of each, uint8 [n], of variants group [n] in states state [n]."""
        u = rng.integers(0, BINS, len(state), dtype=np.uint8)
        return self._table[(group * self.states + state) * BINS + u]

    def path(self, rng: np.random.Generator, group: np.ndarray, state: np.ndarray, steps: int) -> np.ndarray:
        """uint8 [n, steps]: the states after 1, 2, … steps from `state`."""
        out = np.empty((steps, len(state)), dtype=np.uint8)
        base = group.astype(np.int64)
        now = state
        for k in range(steps):
            now = self.step(rng, base, now)
            out[k] = now
        return np.ascontiguousarray(out.T)
