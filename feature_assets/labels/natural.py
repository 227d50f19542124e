"""The natural unit of a label on another scale: what a person would add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from feature_assets.labels.state import LabelState


@dataclass(frozen=True)
class Natural:
    """The way back from a label's scale.

    Attributes:
        unit: in plain language.
        inverse: label values [n] and the fitted state → the same in the natural unit, increasing.
    """

    unit: str
    inverse: Callable[[np.ndarray, LabelState], np.ndarray]


def _of_logarithm(labels: np.ndarray, state: LabelState) -> np.ndarray:
    return np.expm1(labels)


CURRENCY = Natural("currency", _of_logarithm)
DAYS = Natural("days", _of_logarithm)
