"""Sum of neighbours' vectors in a bipartite graph, one customer after the other.

A customer's sum is added in the order of its lines: the same bits in any shard and with any number of threads, which a
sparse matrix product does not promise.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def neighbour_sums(start: np.ndarray, item: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the vectors of each customer's *different* items.

    Args:
        start: int64 [customers + 1]; lines of customer i are start[i] … start[i + 1].
        item: int [lines]; −1 = unknown, left out; an item counts once however often it comes.
        vectors: float64 [items, d].

    Returns:
        sums float64 [customers, d], and the number of different items int64 [customers].
    """
    customers, d = start.size - 1, vectors.shape[1]
    sums = np.zeros((customers, d))
    count = np.zeros(customers, dtype=np.int64)
    last = np.full(vectors.shape[0], -1, dtype=np.int64)
    for i in range(customers):
        for e in range(start[i], start[i + 1]):
            m = item[e]
            if m < 0 or last[m] == i:
                continue
            last[m] = i
            count[i] += 1
            for j in range(d):
                sums[i, j] += vectors[m, j]
    return sums, count
