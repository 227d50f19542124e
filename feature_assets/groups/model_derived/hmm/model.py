"""One hidden Markov model as data, and its use on many sequences by our kernel or by hmmlearn.

The fit belongs to `fit.py`, the definition of the observations to `observations.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from feature_assets.kernels.forward_backward import emission_scores, forward_backward, path_entropy, viterbi

Implementation = Literal["numba", "hmmlearn"]
"""Implementation of forward–backward and Viterbi: the kernel over all sequences, or hmmlearn one by one."""


@dataclass(frozen=True)
class Steps:
    """Sequences one after the other: sequence i holds the steps `start[i]` … `start[i + 1]` − 1, oldest first."""

    start: np.ndarray  # int64 [n + 1]
    values: np.ndarray  # float64 [N, C], NaN = not observed

    @classmethod
    def of(cls, dense: np.ndarray, lengths: np.ndarray) -> Steps:
        """From dense [n, T, C], of which each sequence has its last `lengths` [n] steps."""
        kept = np.arange(dense.shape[1])[None, :] >= dense.shape[1] - lengths[:, None]
        return cls(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), dense[kept])

    @classmethod
    def joined(cls, parts: Sequence[Steps]) -> Steps:
        lengths = np.concatenate([np.diff(part.start) for part in parts])
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(start, np.concatenate([part.values for part in parts]))

    def take(self, sequences: np.ndarray) -> Steps:
        """The given sequences, in the given order."""
        lengths = np.diff(self.start)[sequences]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        steps = np.arange(start[-1]) + np.repeat(self.start[sequences] - start[:-1], lengths)
        return Steps(start, self.values[steps])


@dataclass(frozen=True)
class Model:
    """K states, C channels; a channel is a Poisson count or Gaussian, independent of the others given the state."""

    startprob: np.ndarray  # [K]
    transmat: np.ndarray  # [K, K], row = from
    poisson: np.ndarray  # bool [C]
    location: np.ndarray  # [K, C] rates or means
    spread: np.ndarray  # [K, C] variances (1 for counts, not read)

    @property
    def states(self) -> int:
        return len(self.startprob)

    def ordered(self, order: np.ndarray) -> Model:
        """The same model with its states renumbered: new state i is old state `order[i]`."""
        return Model(
            self.startprob[order],
            self.transmat[np.ix_(order, order)],
            self.poisson,
            self.location[order],
            self.spread[order],
        )

    def scores(self, steps: Steps) -> np.ndarray:
        """log p(values | state), [N, K]."""
        return emission_scores(steps.values, self.poisson, self.location, self.spread)


@dataclass(frozen=True)
class Smoothed:
    """Result of forward–backward: posterior [N, K] of every step and log-likelihood [n] of every sequence."""

    posterior: np.ndarray
    log_likelihood: np.ndarray


def smooth(model: Model, steps: Steps, implementation: Implementation = "numba") -> Smoothed:
    """Posteriors of the states given the whole sequence."""
    if implementation == "numba":
        posterior, log_likelihood, _ = forward_backward(
            steps.start, model.scores(steps), model.startprob, model.transmat
        )
        return Smoothed(posterior, log_likelihood)
    from feature_assets.groups.model_derived.hmm import library

    return Smoothed(*library.smooth(model, steps))


def decode(model: Model, steps: Steps, implementation: Implementation = "numba") -> np.ndarray:
    """The most probable path (Viterbi) of every sequence, int64 [N]."""
    if implementation == "numba":
        path, _ = viterbi(steps.start, model.scores(steps), model.startprob, model.transmat)
        return path
    from feature_assets.groups.model_derived.hmm import library

    return library.decode(model, steps)


def uncertainty(model: Model, steps: Steps) -> np.ndarray:
    """Entropy of the path given the sequence, [n], in nats (hmmlearn has no such function)."""
    return path_entropy(steps.start, model.scores(steps), model.startprob, model.transmat)
