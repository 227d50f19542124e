"""The largest values of each customer; those of customer i are `start[i]:start[i+1]`."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def largest_three(start: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum of the three largest values (of all where there are fewer), the largest first: float64 [customers]; NaN
    without any."""
    customers = start.size - 1
    result = np.full(customers, np.nan)
    for i in range(customers):
        a = b = c = -np.inf
        for j in range(start[i], start[i + 1]):
            value = values[j]
            if value > a:
                a, b, c = value, a, b
            elif value > b:
                b, c = value, b
            elif value > c:
                c = value
        n = start[i + 1] - start[i]
        if n >= 3:
            result[i] = a + b + c
        elif n == 2:
            result[i] = a + b
        elif n == 1:
            result[i] = a
    return result
