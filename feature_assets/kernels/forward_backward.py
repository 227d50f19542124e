"""Hidden Markov models over many sequences at once: emission scores, forward–backward, Viterbi, path entropy.

Sequences lie one after the other: sequence i holds the steps `start[i]` … `start[i + 1]` − 1 of arrays over all N steps
(the row pointer of a CSR matrix). K states, C observed channels. A sequence's result depends on its own steps only, in
their order, so it has the same bits whatever sequences are beside it.

Source: Rabiner 1989 (scaling form); Hernando, Crespi and Cybenko 2005 (path entropy). Oracle: hmmlearn.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_TINY = 1e-280  # a filtered probability below is 0: its reciprocal must stay finite in the backward pass


@njit(cache=True)
def emission_scores(values: np.ndarray, poisson: np.ndarray, location: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """log p(values of a step | state), float64 [N, K]; channels are independent given the state.

    Args:
        values: float64 [N, C]; NaN is not observed and says nothing about the state.
        poisson: bool [C]: a channel is a Poisson count, or Gaussian.
        location: float64 [K, C], rates > 0 or means.
        spread: float64 [K, C], variances > 0 (not read for counts).
    """
    steps, channels = values.shape
    states = location.shape[0]
    slope, level = np.empty((channels, states)), np.empty((channels, states))
    for c in range(channels):
        for k in range(states):
            if poisson[c]:
                slope[c, k], level[c, k] = math.log(location[k, c]), -location[k, c]
            else:
                slope[c, k], level[c, k] = 0.5 / spread[k, c], -0.5 * math.log(2.0 * math.pi * spread[k, c])
    scores = np.zeros((steps, states))
    for i in range(steps):
        for c in range(channels):
            x = values[i, c]
            if math.isnan(x):
                continue
            if poisson[c]:
                shared = math.lgamma(x + 1.0) if x > 1.0 else 0.0
                for k in range(states):
                    scores[i, k] += x * slope[c, k] + level[c, k] - shared
            else:
                for k in range(states):
                    off = x - location[k, c]
                    scores[i, k] += level[c, k] - off * off * slope[c, k]
    return scores


@njit(cache=True)
def _forward(
    scores: np.ndarray, startprob: np.ndarray, transmat: np.ndarray, alpha: np.ndarray, emitted: np.ndarray
) -> float:
    """Filtered probabilities into `alpha` and likelihoods over their step's largest into `emitted` ([T, K] or more);
    returns the log-likelihood (−inf where no path is possible).

    A step's scores are shifted by the largest of the states that can be reached, so that none that matters underflows.
    """
    length, states = scores.shape
    log_likelihood = 0.0
    for t in range(length):
        top = -np.inf
        for k in range(states):
            if t == 0:
                reached = startprob[k]
            else:
                reached = 0.0
                for j in range(states):
                    reached += alpha[t - 1, j] * transmat[j, k]
            alpha[t, k] = reached
            if reached > 0.0 and scores[t, k] > top:
                top = scores[t, k]
        if top == -np.inf:
            return -np.inf
        total = 0.0
        for k in range(states):
            emitted[t, k] = math.exp(scores[t, k] - top) if alpha[t, k] > 0.0 else 0.0
            alpha[t, k] *= emitted[t, k]
            total += alpha[t, k]
        norm = 1.0 / total
        for k in range(states):
            alpha[t, k] *= norm
            if alpha[t, k] < _TINY:
                alpha[t, k] = 0.0
        log_likelihood += top + math.log(total)
    return log_likelihood


@njit(cache=True)
def _longest(start: np.ndarray) -> int:
    longest = 0
    for i in range(start.size - 1):
        longest = max(longest, start[i + 1] - start[i])
    return longest


@njit(cache=True)
def forward_backward(
    start: np.ndarray, scores: np.ndarray, startprob: np.ndarray, transmat: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posteriors of the states at every step, log-likelihoods, and expected transitions.

    Args:
        start: int64 [n + 1].
        scores: float64 [N, K], log p(observation of the step | state), from `emission_scores` or elsewhere.
        startprob: [K]; transmat: [K, K], row = from.

    Returns:
        posterior [N, K], rows of sum 1 (NaN for a sequence that the model cannot make); log-likelihood [n] (0 for a
        sequence without steps, −inf for an impossible one); expected number of transitions over all sequences [K, K].
    """
    n, states = start.size - 1, startprob.size
    posterior, log_likelihood, counts = np.empty_like(scores), np.zeros(n), np.zeros((states, states))
    longest = _longest(start)
    alpha, emitted = np.empty((longest, states)), np.empty((longest, states))
    beta, before, ahead = np.empty(states), np.empty(states), np.empty(states)
    for i in range(n):
        first, last = start[i], start[i + 1]
        log_likelihood[i] = _forward(scores[first:last], startprob, transmat, alpha, emitted)
        if log_likelihood[i] == -np.inf:
            posterior[first:last] = np.nan
            continue
        beta[:] = 1.0
        for t in range(last - first - 1, -1, -1):
            total = 0.0
            for k in range(states):
                posterior[first + t, k] = alpha[t, k] * beta[k]
                total += posterior[first + t, k]
            norm = 1.0 / total
            for k in range(states):
                posterior[first + t, k] *= norm
            if t == 0:
                break
            total = 0.0
            for k in range(states):
                ahead[k] = emitted[t, k] * beta[k]
            for j in range(states):
                before[j] = 0.0
                if alpha[t - 1, j] > 0.0:
                    for k in range(states):
                        before[j] += transmat[j, k] * ahead[k]
                total += alpha[t - 1, j] * before[j]
            norm = 1.0 / total
            for j in range(states):
                weight = alpha[t - 1, j] * norm
                for k in range(states):
                    counts[j, k] += weight * ahead[k]
                beta[j] = before[j] * norm  # Σ alpha · beta = 1 at every step
    return posterior, log_likelihood, counts * transmat


@njit(cache=True)
def viterbi(
    start: np.ndarray, scores: np.ndarray, startprob: np.ndarray, transmat: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable path of each sequence, int64 [N], and its log joint probability [n]; arguments as above.

    Of equally probable predecessors the one with the lowest number is taken.
    """
    n, states = start.size - 1, startprob.size
    path, log_joint = np.zeros(scores.shape[0], dtype=np.int64), np.zeros(n)
    log_start, log_trans = np.empty(states), np.empty((states, states))
    for j in range(states):
        log_start[j] = math.log(startprob[j]) if startprob[j] > 0.0 else -np.inf
        for k in range(states):
            log_trans[j, k] = math.log(transmat[j, k]) if transmat[j, k] > 0.0 else -np.inf
    came_from = np.zeros((_longest(start), states), dtype=np.int64)
    best, following = np.empty(states), np.empty(states)
    for i in range(n):
        first, last = start[i], start[i + 1]
        if first == last:
            continue
        for k in range(states):
            best[k] = log_start[k] + scores[first, k]
        for t in range(1, last - first):
            for k in range(states):
                top, source = best[0] + log_trans[0, k], 0
                for j in range(1, states):
                    if best[j] + log_trans[j, k] > top:
                        top, source = best[j] + log_trans[j, k], j
                came_from[t, k] = source
                following[k] = top + scores[first + t, k]
            best[:] = following
        state = np.argmax(best)
        log_joint[i] = best[state]
        for t in range(last - first - 1, -1, -1):
            path[first + t] = state
            state = came_from[t, state]
    return path, log_joint


@njit(cache=True)
def path_entropy(start: np.ndarray, scores: np.ndarray, startprob: np.ndarray, transmat: np.ndarray) -> np.ndarray:
    """Entropy of the whole path given the sequence, H(S₁ … S_T | x), in nats, float64 [n] (0 without steps, NaN for an
    impossible sequence); arguments as above. Source: Hernando, Crespi and Cybenko 2005.

    H_t(k) = Σ_j w_jk (H_{t−1}(j) − log w_jk), w_jk = P(s_{t−1} = j | s_t = k, x_1 … x_{t−1}); at the end
    Σ_k α_T(k) (H_T(k) − log α_T(k)).
    """
    n, states = start.size - 1, startprob.size
    result = np.zeros(n)
    longest = _longest(start)
    alpha, emitted = np.empty((longest, states)), np.empty((longest, states))
    entropy, following, logs = np.zeros(states), np.zeros(states), np.zeros(states)
    log_trans = np.zeros((states, states))
    for j in range(states):
        for k in range(states):
            log_trans[j, k] = math.log(transmat[j, k]) if transmat[j, k] > 0.0 else 0.0
    for i in range(n):
        length = start[i + 1] - start[i]
        if _forward(scores[start[i] : start[i + 1]], startprob, transmat, alpha, emitted) == -np.inf:
            result[i] = np.nan
            continue
        entropy[:] = 0.0
        for t in range(1, length):
            for j in range(states):
                logs[j] = entropy[j] - math.log(alpha[t - 1, j]) if alpha[t - 1, j] > 0.0 else 0.0
            for k in range(states):
                total, summed = 0.0, 0.0
                for j in range(states):
                    weight = alpha[t - 1, j] * transmat[j, k]
                    total += weight
                    summed += weight * (logs[j] - log_trans[j, k])
                following[k] = summed / total + math.log(total) if total > 0.0 else 0.0
            entropy[:] = following
        if length > 0:
            for k in range(states):
                if alpha[length - 1, k] > 0.0:
                    result[i] += alpha[length - 1, k] * (entropy[k] - math.log(alpha[length - 1, k]))
    return result
