"""Metrics of uplift from predictions and transformed outcomes.

A transformed outcome Z = Y · (W − e) / (e (1 − e)), of outcome Y, treatment W and its known propensity e, has the
treatment effect as its conditional mean. So the mean of Z among the rows with the highest predictions estimates
their uplift, without looking at treatment or control again.

The *uplift curve* is the gain per customer, φ · mean(Z of the top share φ), of treating the share φ with the highest
predictions. AUUC is the area under it for φ from 0 to 1. Qini is AUUC less the area under the straight line to the
average effect, which random targeting or a constant reaches. Both are in the outcome's unit. Tied predictions are
targeted in random order: the curve is straight across them.

Departure from Radcliffe: his curve rescales the control group's responses by the counts of both groups at each
share, and divides by the perfect model's area; here the propensity is known, and nothing is divided, since Z of one
customer says nothing of the perfect order.

Source: Athey and Imbens, "Recursive partitioning for heterogeneous causal effects" (PNAS 2016), the transformed
outcome; Radcliffe, "Using control groups to target on predicted lift" (2007), Qini; Gutierrez and Gérardy, "Causal
inference and uplift modelling: a review" (2017), AUUC.
"""

import numpy as np
from scipy.stats import rankdata

from ple_model.evaluation.kind import Floats, Ints, Statistic

TOP_SHARE = 0.1
_CHUNK = 64  # resamples held at once: 64 × 12,000 rows × 8 bytes = 6 MB


def auuc(predictions: Floats, outcomes: Floats) -> float:
    """Area under the uplift curve of predictions [n] and transformed outcomes [n].

    The trapezoids of the curve add up to the mean of Z times the share of rows that a prediction stands above, with
    its own row and those tied with it counted half.
    """
    share = (rankdata(predictions) - 0.5) / len(predictions)
    return float((outcomes * share).mean())


def qini(predictions: Floats, outcomes: Floats) -> float:
    """AUUC above that of targeting at random."""
    return auuc(predictions, outcomes) - float(outcomes.mean()) / 2


def uplift_curve(predictions: Floats, outcomes: Floats) -> tuple[Floats, Floats]:
    """(share treated, gain per customer) from (0, 0) to (1, average effect), a point after each group of ties."""
    order = np.argsort(-predictions, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(predictions[order]) < 0, True)) + 1
    gains = np.cumsum(outcomes[order])[ends - 1]
    return np.append(0.0, ends / len(order)), np.append(0.0, gains / len(order))


def top_uplift(predictions: Floats, outcomes: Floats, share: float = TOP_SHARE) -> float:
    """Mean transformed outcome among the share with the highest predictions, ties in random order."""
    treated, gains = uplift_curve(predictions, outcomes)
    return float(np.interp(share, treated, gains) / share)


def area_statistic(predictions: Floats, outcomes: Floats, cluster: Ints, line: float) -> Statistic:
    """AUUC less `line` times the average effect, for counts of customers: `line` 0 gives AUUC, ½ gives Qini.

    The rows are sorted once; a resample is a weighted count of the rows below each group of ties.
    """
    order = np.argsort(predictions, kind="stable")
    owner, z = cluster[order], outcomes[order]
    starts = np.flatnonzero(np.append(True, np.diff(predictions[order]) > 0))

    def area(counts: Floats) -> Floats:
        out = np.empty(len(counts))
        for first in range(0, len(counts), _CHUNK):
            weight = counts[first : first + _CHUNK, owner]
            rows = np.add.reduceat(weight, starts, axis=1)
            gain = np.add.reduceat(weight * z, starts, axis=1)
            total = weight.sum(axis=1)
            below = (np.cumsum(rows, axis=1) - rows / 2) / total[:, None]
            out[first : first + _CHUNK] = (gain * (below - line)).sum(axis=1) / total
        return out

    return area
