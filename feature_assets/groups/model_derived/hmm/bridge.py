"""The continuous-time bridge: from a transition matrix to a generator, and measures of a posterior under it.

A customer's posterior p moves by dp/dt = pQ. Q is the matrix logarithm of P with negative off-diagonal rates set to 0
and the diagonal set to minus the row's sum ("diagonal adjustment"): exp(Q) = P where P is embeddable, near P otherwise.
Time is counted in steps of the mode. Source: FEATURES §3.5; Israel, Rosenthal and Wei 2001; Norris 1997, §3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH = 6  # posteriors are padded to the most states of any mode
MEASURES = (
    *(f"posterior_{k}" for k in range(WIDTH)),
    "entropy",
    "remaining_dwell",
    "less_active_next",
    "log_likelihood",
    "speed",
    "acceleration",
    "distance_to_stationary",
    "hitting_time",
    "drift",
    "curvature",
)
NEVER = 3650.0  # steps that stand for "never" where the least active state cannot be reached


@dataclass(frozen=True)
class Bridge:
    """K states. P [K, K], generator Q [K, K], stationary π [K], activity a [K], steps until the
    least active state is hit [K]."""

    transmat: np.ndarray
    generator: np.ndarray
    stationary: np.ndarray
    activity: np.ndarray
    hitting: np.ndarray

    @classmethod
    def of(cls, transmat: np.ndarray, activity: np.ndarray) -> Bridge:
        q = generator(transmat)
        hitting = np.minimum(hitting_times(q, int(activity.argmin())), NEVER)
        return cls(transmat, q, stationary(q), activity, hitting)

    def embedding_error(self) -> float:
        """Largest |exp(Q) − P|: 0 where P is embeddable."""
        from scipy.linalg import expm

        return float(np.abs(expm(self.generator) - self.transmat).max())


def generator(transmat: np.ndarray) -> np.ndarray:
    """Q [K, K] of a transition matrix [K, K]. ValueError where it is singular: it has no logarithm."""
    from scipy.linalg import logm

    if np.linalg.matrix_rank(transmat) < len(transmat):
        raise ValueError("a singular transition matrix has no logarithm, so no generator")
    q = np.maximum(np.real(logm(transmat)), 0.0)  # complex where P has negative eigenvalues
    np.fill_diagonal(q, 0.0)
    np.fill_diagonal(q, -q.sum(axis=1))
    return q


def stationary(q: np.ndarray) -> np.ndarray:
    """π [K] with πQ = 0 and Σπ = 1, by least squares (the smallest of them where there are several)."""
    system = np.vstack([q.T, np.ones(len(q))])
    pi = np.linalg.lstsq(system, np.append(np.zeros(len(q)), 1.0), rcond=None)[0]
    pi = np.maximum(pi, 0.0)
    return pi / pi.sum()


def hitting_times(q: np.ndarray, target: int) -> np.ndarray:
    """Expected time until `target` is hit from each state, [K]; infinite where it may never be.

    h(target) = 0 and Σ_j Q_ij h_j = −1 elsewhere, among the states from which nothing that can be reached is cut off.
    """
    moves = (q > 0) + np.eye(len(q))
    moves[target] = np.eye(len(q))[target]  # what happens after the hit does not matter
    reach = np.linalg.matrix_power(moves, len(q)) > 0
    finite = ~((reach & ~reach[:, target]).any(axis=1))
    result = np.where(finite, 0.0, np.inf)
    inner = np.flatnonzero(finite & (np.arange(len(q)) != target))
    result[inner] = np.linalg.solve(q[np.ix_(inner, inner)], -np.ones(len(inner)))
    return result


def measures(bridge: Bridge, posterior: np.ndarray, log_likelihood: np.ndarray) -> np.ndarray:
    """The 16 numbers of each customer in natural units, float64 [n, 16], in the order of `MEASURES`.

    Args:
        posterior: [n, K] at the last step.
        log_likelihood: [n], a step.

    Base 10: the posterior padded to 6; its entropy over log K; expected number of further steps in the present state
    Σ p_k P_kk / (1 − P_kk); probability that the next state is a less active one; log-likelihood.
    Dynamics 6: ‖pQ‖ and ‖pQ²‖ (Euclidean); total variation ½Σ|p − π|; p·h; pQa; pQ²a.
    """
    p, q = bridge.transmat, bridge.generator
    stay = np.diag(p)
    velocity = _product(posterior, q)
    change = _product(velocity, q)
    logs = np.log(posterior, out=np.zeros_like(posterior), where=posterior > 0)
    result = np.zeros((len(posterior), len(MEASURES)))
    result[:, : posterior.shape[1]] = posterior
    result[:, WIDTH:] = np.column_stack(
        [
            np.clip(-_sums(posterior * logs) / np.log(len(p)), 0.0, 1.0),
            _sums(posterior * np.minimum(stay / np.maximum(1.0 - stay, 1e-12), NEVER)),
            _sums(posterior * (p * (bridge.activity[None, :] < bridge.activity[:, None])).sum(axis=1)),
            log_likelihood,
            np.sqrt(_sums(velocity**2)),
            np.sqrt(_sums(change**2)),
            0.5 * _sums(np.abs(posterior - bridge.stationary)),
            _sums(posterior * bridge.hitting),
            _sums(velocity * bridge.activity),
            _sums(change * bridge.activity),
        ]
    )
    return result


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left [n, K] @ right [K, K], adding in the order of K: the same bits for a row whatever rows are beside it."""
    result = np.zeros_like(left)
    for k in range(len(right)):
        result += left[:, k, None] * right[k]
    return result


def _sums(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis of [n, K] in the order of K."""
    result = np.zeros(len(values))
    for k in range(values.shape[1]):
        result += values[:, k]
    return result
