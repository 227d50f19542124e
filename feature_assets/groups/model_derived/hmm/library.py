"""hmmlearn's HMM with the emissions of `model.py`: it fits the parameters, and is the fallback of the kernel.

hmmlearn offers all channels Gaussian or all channels Poisson. Zero-inflated days want both: how often (a count, zero
included), and how much given that something happened (log amount; not observed on a day without). So this is hmmlearn's
documented extension by emissions of one's own: its EM, its M-step of start and transitions, its monitor; with channels
of either family, each possibly not observed. Only functions import this module: hmmlearn is loaded when it is needed.

hmmlearn refuses NaN, so its input X [N, 2C] holds the values (0 where not observed) and flags (1 observed, 0 not).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hmmlearn.base import BaseHMM
from scipy.special import gammaln

from feature_assets.groups.model_derived.hmm.model import Implementation, Model, Steps
from feature_assets.kernels.forward_backward import emission_scores, forward_backward

SMALLEST_VARIANCE = 0.02  # of a standardised channel: no state collapses onto one value
_PSEUDO_STEPS = 10.0  # weight of the population's mean and variance in every state: a state that never observes a
# channel gets the population's values, so that the channel then says nothing about it
_PSEUDO_MOVES, _PSEUDO_STAYS = 0.5, 5.0  # transitions seen beforehand: no probability is 0, and states without members
# keep different rows (equal rows would have no matrix logarithm)


class MixedHMM(BaseHMM):
    """EM from a given model on; `implementation` numba does the E-step in one kernel call, hmmlearn its own way."""

    def __init__(self, model: Model, iterations: int, tolerance: float, implementation: Implementation) -> None:
        super().__init__(
            n_components=model.states,
            startprob_prior=1.0 + _PSEUDO_MOVES,
            transmat_prior=1.0 + _PSEUDO_MOVES + _PSEUDO_STAYS * np.eye(model.states),
            n_iter=iterations,
            tol=tolerance,
            init_params="",
            implementation="scaling" if implementation == "numba" else "log",
        )
        self.kernel = implementation
        self.poisson = model.poisson
        self.startprob_, self.transmat_ = model.startprob.copy(), model.transmat.copy()
        self.location_, self.spread_ = model.location.copy(), model.spread.copy()

    @property
    def model(self) -> Model:
        return Model(self.startprob_, self.transmat_, self.poisson, self.location_, self.spread_)

    def _init(self, X: np.ndarray, lengths: Any = None) -> None:
        super()._init(X, lengths)
        values, seen = _halves(X)
        weight = np.maximum(seen.sum(axis=0), 1.0)
        self._mean = values.sum(axis=0) / weight
        self._variance = np.maximum((seen * (values - self._mean) ** 2).sum(axis=0) / weight, SMALLEST_VARIANCE)

    def _get_n_fit_scalars_per_param(self) -> None:
        return None

    def _compute_log_likelihood(self, X: np.ndarray) -> np.ndarray:
        values, seen = _halves(X)
        result = np.zeros((len(X), self.n_components))
        for k in range(self.n_components):
            location, spread = self.location_[k], self.spread_[k]
            counts = values * np.log(np.where(self.poisson, location, 1.0)) - location - gammaln(values + 1.0)
            normal = -0.5 * (np.log(2.0 * np.pi * spread) + (values - location) ** 2 / spread)
            result[:, k] = (seen * np.where(self.poisson, counts, normal)).sum(axis=1)
        return result

    def _initialize_sufficient_statistics(self) -> dict[str, Any]:
        stats = super()._initialize_sufficient_statistics()
        for name in ("weight", "sum", "square"):
            stats[name] = np.zeros_like(self.location_)
        return stats

    def _accumulate_sufficient_statistics(
        self,
        stats: dict[str, Any],
        X: np.ndarray,
        lattice: Any,
        posteriors: np.ndarray,
        fwdlattice: Any,
        bwdlattice: Any,
    ) -> None:
        super()._accumulate_sufficient_statistics(stats, X, lattice, posteriors, fwdlattice, bwdlattice)
        self._accumulate_emissions(stats, X, posteriors)

    def _accumulate_emissions(self, stats: dict[str, Any], X: np.ndarray, posteriors: np.ndarray) -> None:
        values, seen = _halves(X)
        stats["weight"] += posteriors.T @ seen
        stats["sum"] += posteriors.T @ values
        stats["square"] += posteriors.T @ values**2

    def _do_estep(self, X: np.ndarray, lengths: np.ndarray) -> tuple[dict[str, Any], float]:
        if self.kernel == "hmmlearn":
            return super()._do_estep(X, lengths)
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values, seen = _halves(X)
        scores = emission_scores(np.where(seen > 0, values, np.nan), self.poisson, self.location_, self.spread_)
        posteriors, log_likelihood, moves = forward_backward(start, scores, self.startprob_, self.transmat_)
        stats = self._initialize_sufficient_statistics()
        stats["nobs"] = len(lengths)
        stats["start"] += posteriors[start[:-1]].sum(axis=0)
        stats["trans"] += moves
        self._accumulate_emissions(stats, X, posteriors)
        return stats, float(log_likelihood.sum())

    def _do_mstep(self, stats: dict[str, Any]) -> None:
        super()._do_mstep(stats)
        weight = stats["weight"] + _PSEUDO_STEPS
        mean = (stats["sum"] + _PSEUDO_STEPS * self._mean) / weight
        # the pseudo-count of a rate is weaker: a state without any transaction must come close to rate 0
        rate = (stats["sum"] + self._mean) / (stats["weight"] + 1.0)
        spread = stats["square"] - 2.0 * mean * stats["sum"] + mean**2 * stats["weight"]
        spread = (spread + _PSEUDO_STEPS * (self._variance + (mean - self._mean) ** 2)) / weight
        self.location_ = np.where(self.poisson, np.maximum(rate, 1e-6), mean)
        self.spread_ = np.where(self.poisson, 1.0, np.maximum(spread, SMALLEST_VARIANCE))


def packed(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """X [N, 2C] and lengths [n] (sequences without steps left out, as hmmlearn knows none)."""
    lengths = np.diff(steps.start)
    seen = ~np.isnan(steps.values)
    return np.hstack([np.where(seen, steps.values, 0.0), seen.astype(np.float64)]), lengths[lengths > 0]


def _halves(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    channels = X.shape[1] // 2
    return X[:, :channels], X[:, channels:]


def smooth(model: Model, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors [N, K] and log-likelihoods [n] by hmmlearn, sequence by sequence."""
    hmm, (X, _) = MixedHMM(model, 0, 0.0, "hmmlearn"), packed(steps)
    posterior, log_likelihood = np.zeros((len(X), model.states)), np.zeros(len(steps.start) - 1)
    for i, (first, last) in enumerate(zip(steps.start[:-1], steps.start[1:], strict=True)):
        if last > first:
            log_likelihood[i], posterior[first:last] = hmm.score_samples(X[first:last])
    return posterior, log_likelihood


def decode(model: Model, steps: Steps) -> np.ndarray:
    """Viterbi paths [N] by hmmlearn."""
    X, lengths = packed(steps)
    if not len(lengths):
        return np.zeros(0, dtype=np.int64)
    return MixedHMM(model, 0, 0.0, "hmmlearn").decode(X, lengths)[1].astype(np.int64)
