"""Normalisation of columns 0–643, fitted on the training snapshots only.

A column with many different values is mapped by its training quantiles to a standard normal (ties get their middle
rank); one with few is centred on its median and divided by its interquartile range over 1.349, or by mean and standard
deviation where the middle half is one value. Everything is clipped to [−4, 4]; missing stays null. A column that does
not vary on the training rows is reported and becomes absent, not zero. Source: FEATURES §1, §2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import ndtri

from feature_assets.group import GroupState, StateError

LIMIT = 4.0
MANY = 32  # different training values from which quantiles are used
_TAIL = np.array([0.001, 0.0025, 0.005])
PROBABILITIES = np.concatenate([[0.0], _TAIL, np.linspace(0.01, 0.99, 99), 1 - _TAIL[::-1], [1.0]])
_OUTERMOST = 0.0005  # probability given to the smallest and largest training value: |z| ≤ 3.29
_QUANTILE, _STANDARD = 1, 0


def degenerate(names: Sequence[str], matrix: np.ndarray) -> dict[str, str]:
    """Columns of `matrix` [n, C] (NaN = missing) that do not vary on these rows → the reason."""
    known = np.isfinite(matrix)
    low = np.where(known, matrix, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, matrix, -np.inf).max(axis=0, initial=-np.inf)
    faults: dict[str, str] = {}
    for i, name in enumerate(names):
        if not known[:, i].any():
            faults[name] = "missing on every training row"
        elif high[i] - low[i] <= max(1e-9 * max(abs(high[i]), abs(low[i])), 1e-280):
            faults[name] = f"constant on the training rows ({low[i]:.6g})"
    return faults


def fit(names: Sequence[str], matrix: np.ndarray) -> GroupState:
    """The scaling of each column of `matrix` [n, C] (training rows, natural units, NaN = missing).

    Columns must not be `degenerate`. Arrays: method [C], centre [C], scale [C], knots [C, K], scores [C, K].
    """
    faults = degenerate(names, matrix)
    if faults:
        raise ValueError(f"cannot scale columns that do not vary: {faults}")
    width = len(PROBABILITIES)
    method = np.zeros(len(names), dtype=np.int8)
    centre, scale = np.zeros(len(names)), np.ones(len(names))
    knots, scores = np.zeros((len(names), width)), np.zeros((len(names), width))
    for i in range(len(names)):
        values = matrix[:, i][np.isfinite(matrix[:, i])]
        if len(np.unique(values)) >= MANY:
            method[i] = _QUANTILE
            knots[i], scores[i] = _knots(values)
        else:
            centre[i], scale[i] = _centre_and_scale(values)
    arrays: dict[str, np.ndarray] = {
        "method": method,
        "centre": centre,
        "scale": scale,
        "knots": knots,
        "scores": scores,
    }
    return GroupState(arrays, {"columns": list(names), "limit": LIMIT})


def _knots(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training quantiles and the normal score of each; tied quantiles share the score of their middle probability."""
    quantiles = np.quantile(values, PROBABILITIES)
    closest = max(1e-12 * (quantiles[-1] - quantiles[0]), 1e-290)  # nearer ones are tied: their slope would overflow
    first = np.flatnonzero(np.concatenate([[True], np.diff(quantiles) > closest]))
    last = np.append(first, len(quantiles))[1:] - 1
    quantiles, middle = quantiles[first], (PROBABILITIES[first] + PROBABILITIES[last]) / 2
    score = ndtri(np.clip(middle, _OUTERMOST, 1 - _OUTERMOST))
    rest = len(PROBABILITIES) - len(quantiles)  # the last knot is repeated to a fixed width
    return np.pad(quantiles, (0, rest), mode="edge"), np.pad(score, (0, rest), mode="edge")


def _centre_and_scale(values: np.ndarray) -> tuple[float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    if high > low:
        return float(middle), float((high - low) / 1.349)
    return float(values.mean()), float(values.std())


def apply(state: GroupState, frame: pl.DataFrame) -> pl.DataFrame:
    """Scale the columns of `frame` that the state knows, in the frame's order: Float32 in [−4, 4], null = missing.

    Columns that it does not know (degenerate in training) are left out; `customer_id` is kept.
    """
    known = {name: i for i, name in enumerate(state.meta["columns"])}
    chosen = [name for name in frame.columns if name in known]
    values = [
        pl.Series(name, _scaled(state, known[name], frame[name].cast(pl.Float64).to_numpy()), nan_to_null=True)
        for name in chosen
    ]
    return pl.DataFrame([frame["customer_id"], *values])


def _scaled(state: GroupState, i: int, values: np.ndarray) -> np.ndarray:
    arrays = state.arrays
    if arrays["method"][i] == _QUANTILE:
        scaled = np.interp(values, arrays["knots"][i], arrays["scores"][i])  # NaN stays NaN
    else:
        scaled = (values - arrays["centre"][i]) / arrays["scale"][i]
    return np.clip(scaled, -state.meta["limit"], state.meta["limit"]).astype(np.float32)


def merge(states: Sequence[GroupState]) -> GroupState:
    """One normaliser of the columns of several."""
    if not states:
        raise StateError("there is no column to normalise")
    columns = [name for state in states for name in state.meta["columns"]]
    arrays = {key: np.concatenate([state.arrays[key] for state in states]) for key in states[0].arrays}
    return GroupState(arrays, {"columns": columns, "limit": LIMIT})
