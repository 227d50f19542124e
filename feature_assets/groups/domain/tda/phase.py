"""Group phase_transition: how the topology of a customer's purchases changes over six consecutive windows of 60 days.

Each window's cloud (at most 24 points) has a diagram (H0, H1). A *transition* leads from one window with a diagram to
the next one that has one; its size is the sum of the Wasserstein-1 distances of H0 and H1, its speed that size over the
number of steps of 60 days between the two. The columns of distance and change describe the newest transition, those of
direction and speed all transitions. All columns are null with fewer than two windows that have a diagram.
Source: FEATURES §3.3; Gidea & Katz, "Topological data analysis of financial time series" (2018), for distances between
the diagrams of consecutive windows; Batschelet (1981) for the straightness index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.groups.domain.tda.diagrams import PHASES, STEP, Diagrams, diagrams, sample_diagrams
from feature_assets.groups.domain.tda.points import fit_scales
from feature_assets.kernels.matching import bottleneck, wasserstein, wasserstein_line

_MOST_FITTED = 2_000  # customers, over all dates, on whose transitions the threshold is fitted
_PAST = 0.75  # quantile of the speed of the population's transitions above which one counts as a phase transition
_SPAN = f"{STEP * len(PHASES)} days"
_MEASURES = (
    ("wasserstein_h0", "Wasserstein-1 distance of H0, newest transition", "scaled distance"),
    ("wasserstein_h1", "Wasserstein-1 distance of H1, newest transition", "scaled distance"),
    ("bottleneck_h0", "bottleneck distance of H0, newest transition", "scaled distance"),
    ("bottleneck_h1", "bottleneck distance of H1, newest transition", "scaled distance"),
    ("total_change", "log ratio of total persistence (H0 and H1), newest transition", "nats"),
    ("entropy_change", "change of persistence entropy (H0 and H1), newest transition", "nats"),
    ("direction", "straightness: distance from first to last diagram over the path; from two transitions on", "share"),
    ("speed", "length of the path of diagrams over the time it took", f"scaled distance per {STEP} days"),
    ("share_past", f"share of transitions faster than {_PAST:.0%} of the population's", "share"),
    ("days_since_past", "days since the window in which the last such transition ended", "days"),
)


class PhaseTransition(FeatureGroup):
    """Distances between the diagrams of consecutive windows. Fitted: scales of the points, threshold of speed."""

    name = "phase_transition"
    description = "Change of topology (H0, H1) between six consecutive windows of 60 days"
    columns = tuple(Column(f"phase_transition__{m}", meaning, unit, _SPAN) for m, meaning, unit in _MEASURES)
    sources = ("transactions",)

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays `scale` [6] and `threshold` [1] of a transition's speed, and the categories' order."""
        views = training.views
        scale, categories = fit_scales(views)
        state = GroupState({"scale": scale}, {"categories": categories})
        speeds = []
        for view in views:
            share = max(1, _MOST_FITTED // len(views))
            rows = np.arange(0, view.customers.height, max(1, -(-view.customers.height // share)))
            pairs, counts = _stacked([sample_diagrams(view, state, cut, rows) for cut in PHASES])
            speeds.append(_speeds(pairs, counts))
        every = np.concatenate(speeds)
        every = every[np.isfinite(every)]
        threshold = np.quantile(every, [_PAST]) if len(every) else np.ones(1)
        return GroupState({"scale": scale, "threshold": threshold}, state.meta)

    def _values(self, inputs: Inputs) -> Values:
        view, state = inputs.view, inputs.state
        pairs, counts = _stacked([diagrams(view, state, cut) for cut in PHASES])
        matrix = _transitions(pairs, counts, float(state.arrays["threshold"][0]))
        return Values(matrix)


def _stacked(found: Sequence[Diagrams]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs [windows, customers, room, 3] and counts [windows, customers, 2], oldest window first."""
    return np.stack([d.pairs for d in found]), np.stack([d.counts for d in found])


@njit(cache=True)
def _size(
    first: np.ndarray, first_counts: np.ndarray, second: np.ndarray, second_counts: np.ndarray
) -> tuple[float, float]:
    """Wasserstein-1 distances of H0 and of H1 between two diagrams [room, 3]."""
    a, b = first_counts[0], second_counts[0]
    h0 = wasserstein_line(first[:a], second[:b])
    return h0, wasserstein(first[a : a + first_counts[1]], second[b : b + second_counts[1]])


@njit(cache=True)
def _speeds(pairs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Speed of every transition, float64 [customers · (windows − 1)], NaN where there is none."""
    windows, customers = counts.shape[:2]
    result = np.full((customers, windows - 1), np.nan)
    for c in range(customers):
        before = -1
        for k in range(windows):
            if counts[k, c, 0] == 0:
                continue
            if before >= 0:
                h0, h1 = _size(pairs[before, c], counts[before, c], pairs[k, c], counts[k, c])
                result[c, k - 1] = (h0 + h1) / (k - before)
            before = k
    return result.ravel()


@njit(cache=True)
def _level(pairs: np.ndarray, count: int) -> tuple[float, float]:
    """Total persistence and persistence entropy of `count` pairs."""
    total, entropy = 0.0, 0.0
    for i in range(count):
        total += float(pairs[i, 1]) - pairs[i, 0]
    for i in range(count):
        share = (float(pairs[i, 1]) - pairs[i, 0]) / total
        entropy -= share * np.log(share)
    return total, entropy


@njit(cache=True)
def _transitions(pairs: np.ndarray, counts: np.ndarray, threshold: float) -> np.ndarray:
    """The ten measures, float64 [customers, 10], NaN where nothing can be said."""
    windows, customers = counts.shape[:2]
    result = np.full((customers, 10), np.nan)
    for c in range(customers):
        begin, before, last_but_one, steps, past, latest = -1, -1, -1, 0, 0, -1
        path, h0, h1 = 0.0, 0.0, 0.0
        for k in range(windows):
            if counts[k, c, 0] == 0:
                continue
            if before >= 0:
                h0, h1 = _size(pairs[before, c], counts[before, c], pairs[k, c], counts[k, c])
                path += h0 + h1
                steps += 1
                if (h0 + h1) / (k - before) > threshold:
                    past += 1
                    latest = k
                last_but_one = before
            else:
                begin = k
            before = k
        if steps == 0:
            continue
        old, new, out = pairs[last_but_one, c], pairs[before, c], result[c]
        old_counts, new_counts = counts[last_but_one, c], counts[before, c]
        a, b, a1, b1 = old_counts[0], new_counts[0], old_counts.sum(), new_counts.sum()
        out[0], out[1] = h0, h1
        out[2], out[3] = bottleneck(old[:a], new[:b]), bottleneck(old[a:a1], new[b:b1])
        old_total, old_entropy = _level(old, a1)
        new_total, new_entropy = _level(new, b1)
        out[4], out[5] = np.log(new_total / old_total), new_entropy - old_entropy
        if steps > 1 and path > 0:
            whole = _size(pairs[begin, c], counts[begin, c], new, new_counts)
            out[6] = (whole[0] + whole[1]) / path
        out[7] = path / (before - begin)
        out[8] = past / steps
        if latest >= 0:
            out[9] = STEP * (windows - 1 - latest) + 1
    return result
