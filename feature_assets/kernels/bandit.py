"""Category choice as a Bernoulli bandit: one customer's choices in order, Beta posteriors, and which arm is best.

An arm is a category; every purchase day is one choice, of the category with most spend. A choice pays 1 if the customer
chooses the category again within `HORIZON` days and 0 if not; until either is known it says nothing. Choices of
customer i are `start[i]:start[i+1]`, oldest first.
"""

from __future__ import annotations

import numpy as np
from numba import njit

HORIZON = 28
GRID = 128
MEASURES = ("exploration_share", "regret", "posterior_entropy", "switch_rate")


@njit(cache=True)
def day_choices(
    start: np.ndarray, days_ago: np.ndarray, arm: np.ndarray, amount: np.ndarray, arms: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, days ago and arm of each choice, from lines sorted by customer and time (`arm` −1 = unknown): on each
    day the arm with most spend, of equals the first bought."""
    offsets = np.zeros(start.size, dtype=np.int64)
    when, which = np.empty(days_ago.size, dtype=np.int64), np.empty(days_ago.size, dtype=np.int64)
    sums = np.zeros(arms)
    used = 0
    for i in range(start.size - 1):
        j = start[i]
        while j < start[i + 1]:
            first, today, pick = j, days_ago[j], -1
            while j < start[i + 1] and days_ago[j] == today:
                if arm[j] >= 0:
                    sums[arm[j]] = 0.0
                j += 1
            for e in range(first, j):
                if arm[e] >= 0:
                    sums[arm[e]] += amount[e]
            for e in range(first, j):
                if arm[e] >= 0 and (pick < 0 or sums[arm[e]] > sums[pick]):
                    pick = arm[e]
            if pick >= 0:
                when[used], which[used] = today, pick
                used += 1
        offsets[i + 1] = used
    return offsets, when[:used].copy(), which[:used].copy()


@njit(cache=True)
def _settle(counts: np.ndarray, waiting: np.ndarray, now: int) -> None:
    """Choices that were not repeated in time by `now` (days ago) have not paid."""
    for k in range(waiting.size):
        if waiting[k] - now > HORIZON:
            counts[k, 1] += 1.0
            waiting[k] = 0


@njit(cache=True)
def _greedy(counts: np.ndarray) -> int:
    """The arm with the largest posterior mean, of equals the first."""
    best, highest = 0, -1.0
    for k in range(len(counts)):
        mean = counts[k, 0] / (counts[k, 0] + counts[k, 1])
        if mean > highest:
            best, highest = k, mean
    return best


@njit(cache=True)
def pays(start: np.ndarray, days_ago: np.ndarray, arm: np.ndarray, arms: int) -> np.ndarray:
    """Numbers of choices of all customers that paid and that did not, float64 [K, 2]."""
    counts, waiting = np.zeros((arms, 2)), np.zeros(arms, dtype=np.int64)
    for i in range(start.size - 1):
        waiting[:] = 0
        for j in range(start[i], start[i + 1]):
            _settle(counts, waiting, days_ago[j])
            counts[arm[j], 0] += waiting[arm[j]] > 0
            waiting[arm[j]] = days_ago[j]
        _settle(counts, waiting, 0)
    return counts


@njit(cache=True)
def bandit_measures(start: np.ndarray, days_ago: np.ndarray, arm: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """`MEASURES` of each customer's choices, float64 [customers, 4], NaN without a choice (switch rate: without two).

    Args:
        prior: [K, 2] first (α, β) of each arm, all ≥ 1.
    """
    customers, arms = start.size - 1, len(prior)
    result = np.full((customers, 4), np.nan)
    log_x, log_rest = np.zeros(GRID), np.zeros(GRID)
    for g in range(GRID):
        log_x[g], log_rest[g] = np.log((g + 0.5) / GRID), np.log(1 - (g + 0.5) / GRID)
    untried, density = np.zeros((arms, GRID)), np.zeros((arms, GRID))
    for k in range(arms):
        _density(prior[k, 0], prior[k, 1], log_x, log_rest, untried[k])
    posterior = np.zeros((arms, 2))
    waiting, chosen = np.zeros(arms, dtype=np.int64), np.zeros(arms, dtype=np.int64)
    for i in range(customers):
        posterior[:] = prior
        waiting[:] = 0
        chosen[:] = 0
        explored, switches = 0, 0
        for j in range(start[i], start[i + 1]):
            pick = arm[j]
            _settle(posterior, waiting, days_ago[j])
            explored += pick != _greedy(posterior)
            posterior[pick, 0] += waiting[pick] > 0
            waiting[pick] = days_ago[j]
            chosen[pick] += 1
            switches += j > start[i] and pick != arm[j - 1]
        choices = start[i + 1] - start[i]
        if choices == 0:
            continue
        _settle(posterior, waiting, 0)
        best, had = 0.0, 0.0
        for k in range(arms):
            if chosen[k] > 0:
                mean = posterior[k, 0] / (posterior[k, 0] + posterior[k, 1])
                best = max(best, mean)
                had += chosen[k] * mean
            if posterior[k, 0] == prior[k, 0] and posterior[k, 1] == prior[k, 1]:
                density[k] = untried[k]
            else:
                _density(posterior[k, 0], posterior[k, 1], log_x, log_rest, density[k])
        result[i, 0] = explored / choices
        result[i, 1] = max(best - had / choices, 0.0)
        result[i, 2] = _entropy(best_arm(density))
        if choices >= 2:
            result[i, 3] = switches / (choices - 1)
    return result


@njit(cache=True)
def _density(alpha: float, beta: float, log_x: np.ndarray, log_rest: np.ndarray, out: np.ndarray) -> None:
    """Beta(α, β) on the midpoints of `GRID` cells, as probabilities that sum to 1; α, β ≥ 1."""
    highest = -np.inf
    for g in range(out.size):
        out[g] = (alpha - 1) * log_x[g] + (beta - 1) * log_rest[g]
        highest = max(highest, out[g])
    total = 0.0
    for g in range(out.size):
        gap = out[g] - highest
        out[g] = np.exp(gap) if gap > -40.0 else 0.0
        total += out[g]
    for g in range(out.size):
        out[g] /= total


@njit(cache=True)
def best_arm(density: np.ndarray) -> np.ndarray:
    """Probability that each arm's value is the largest, ∫ f_k Π_{j≠k} F_j, of `density` [K, cells]; sums to 1.

    Midpoint quadrature; F at a midpoint is all cells before it and half of its own.
    """
    arms, cells = density.shape
    result, below = np.zeros(arms), np.zeros(arms)
    after, at = np.ones(arms + 1), np.zeros(arms)
    for g in range(cells):
        for k in range(arms):
            at[k] = below[k] + 0.5 * density[k, g]
            below[k] += density[k, g]
        for k in range(arms - 1, -1, -1):
            after[k] = after[k + 1] * at[k]
        before = 1.0
        for k in range(arms):
            result[k] += density[k, g] * before * after[k + 1]
            before *= at[k]
    total = 0.0
    for k in range(arms):
        total += result[k]
    for k in range(arms):
        result[k] /= total
    return result


@njit(cache=True)
def _entropy(probabilities: np.ndarray) -> float:
    """Shannon entropy over its maximum; 0 for a single arm."""
    entropy = 0.0
    for k in range(probabilities.size):
        if probabilities[k] > 0:
            entropy -= probabilities[k] * np.log(probabilities[k])
    return entropy / np.log(probabilities.size) if probabilities.size > 1 else 0.0
