"""The empirical distribution of training values, as knots between which one interpolates."""

from __future__ import annotations

import numpy as np

from feature_assets.events.numbers import sum_at

KNOTS = 512


def ecdf(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Knots and levels of the empirical distribution: np.interp over them gives the training quantile in [0, 1].

    Args:
        values: [N] training values, N ≥ 1.

    Returns:
        Strictly increasing knots (at most 512) and their levels; equal values share their mean level.
    """
    levels = np.linspace(0.0, 1.0, KNOTS)
    quantiles = np.quantile(values, levels)
    knots, position = np.unique(quantiles, return_inverse=True)
    mean = sum_at(position, levels, len(knots)) / sum_at(position, None, len(knots))
    return knots.tolist(), mean.tolist()
