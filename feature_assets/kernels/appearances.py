"""Equal values of one customer: each gets a number in the order of first appearance, and knows its predecessor.

Values are uint64 and only compared; those of customer i are `start[i]:start[i+1]`. A customer's values go into a small
hash table of its own, so that the cost does not depend on how many different values all customers have together.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: Knuth (1998), The Art of Computer Programming 3, §6.4


@njit(cache=True)
def appearances(start: np.ndarray, values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the pairs (customer, value), customer by customer, in the order of first appearance.

    Args:
        start: int64 [customers + 1].
        values: uint64 [N].
        known: bool [N]; items without it have no value.

    Returns:
        `number` int64 [N] of the item's pair, P (how many there are) for items without a value; `previous` int64 [N],
        the item before it of the same pair, −1 without one; `pairs` int64 [customers + 1], each customer's first pair.
    """
    customers, n = start.size - 1, values.size
    number, previous = np.empty(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    pairs = np.zeros(customers + 1, dtype=np.int64)
    most = 1
    for i in range(customers):
        most = max(most, start[i + 1] - start[i])
    room = 2
    while room < 2 * most:
        room *= 2
    key, last = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    owner = np.full(room, -1, dtype=np.int64)
    found = 0
    for i in range(customers):
        size, bits = 2, 1
        while size < 2 * (start[i + 1] - start[i]):
            size, bits = size * 2, bits + 1
        shift = np.uint64(64 - bits)
        for j in range(start[i], start[i + 1]):
            if not known[j]:
                number[j] = -1
                continue
            place = np.int64((values[j] * _GOLDEN) >> shift)
            while owner[place] == i and key[place] != values[j]:
                place = (place + 1) & (size - 1)
            if owner[place] == i:
                previous[j] = last[place]
                number[j] = number[last[place]]
            else:
                owner[place], key[place] = i, values[j]
                number[j] = found
                found += 1
            last[place] = j
        pairs[i + 1] = found
    for j in range(n):
        if number[j] < 0:
            number[j] = found
    return number, previous, pairs
