"""What a task asks of a model of repeat buying, which knows when a customer bought and for how much, and nothing else.

The model itself belongs to `pipeline/training/repeat_buying.py`; its mathematics to `groups/base/bgnbd.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np


class Buying(Protocol):
    """What is expected of N customers from t on. A purchase is a day with one, however many baskets it has."""

    def chance(self, days: int, periods: int = 1) -> np.ndarray:
        """Probability of a purchase in each of `periods` periods of `days` days, the first one from t on [N]; NaN for
        customers who never bought."""

    def spend(self, days: int) -> np.ndarray:
        """Expected spend in [t, t + days), currency [N]; NaN for customers who never bought."""


Answer = Callable[[Buying, int], np.ndarray]
"""The model and the task's window in days → its answer to the task in the form of a prediction: a probability or value
in the label's unit [N], or probabilities of classes [N, K]."""
