"""Fitting one mode: a bounded sample of sequences, several short runs of EM, the best one to its end, states in order.

EM only finds the nearest maximum, so it starts from several points, and the worse ones are dropped after some
iterations (Biernacki, Celeux and Govaert 2003): once from sequences grouped by their activity, otherwise from stretches
of random sequences that are far from each other. The states of the best are numbered by their activity, the expected
number of events in a step, least active first: so that a number keeps its meaning after a refit on similar data. Every
random choice comes from `seed`; the caller holds BLAS to one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from feature_assets.events.numbers import sum_at
from feature_assets.events.view import View
from feature_assets.groups.model_derived.hmm.model import Implementation, Model, Steps
from feature_assets.groups.model_derived.hmm.observations import Mode, Observed, choose, lengths, raw

SEQUENCES = {"journey": 1_500, "lifecycle": 4_000, "behavior": 4_000}  # customers × dates that a mode is fitted on
RESTARTS = 10
HEATS = ((12, 4), (25, 1))  # iterations of EM of each start on half of the sample, and how many go on
LONG = 80  # iterations of EM of the best, on the whole sample
_TOLERANCE = 1e-6  # gain of log-likelihood a step at which EM stops
_STAY = 0.9  # transition to the same state in every start
_STRETCH = 10  # steps of a stretch that a start makes a state of
_CANDIDATES = 300  # stretches to choose from
_EQUAL = 0.15  # relative difference of activity below which two states are equally active
_CHUNK = 8_192


@dataclass(frozen=True)
class Fitted:
    """A mode's channels, model, activity of its states [K], and how the fit went."""

    observed: Observed
    model: Model
    activity: np.ndarray
    log_likelihood: float  # a step, of the sample
    iterations: int
    sample: Steps


def fit_mode(views: Sequence[View], mode: Mode, seed: int, implementation: Implementation = "numba") -> Fitted:
    """Choose the channels, standardise them, and fit the model on at most `SEQUENCES` sequences of the views."""
    observed = choose(views, mode)
    rng = np.random.default_rng([seed, *mode.name.encode()])
    sample = _sample(views, mode, observed, rng)
    centre, scale = _standard(sample.values, observed.poisson)
    observed = replace(observed, centre=centre, scale=scale)
    sample = Steps(sample.start, (sample.values - observed.centre) / observed.scale)
    model, log_likelihood, iterations = fit_model(sample, mode, observed, rng, implementation)
    return Fitted(observed, model, activity(model, mode, observed), log_likelihood, iterations, sample)


def fit_model(
    sample: Steps, mode: Mode, observed: Observed, rng: np.random.Generator, implementation: Implementation = "numba"
) -> tuple[Model, float, int]:
    """The best model with ordered states, its log-likelihood a step, and the iterations of its last run."""
    from feature_assets.groups.model_derived.hmm.library import MixedHMM, packed

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)  # its monitor does not know the pseudo-counts of the M-step

    def run(start: Model, some: Steps, iterations: int) -> MixedHMM:
        X, sizes = packed(some)
        return MixedHMM(start, iterations, _TOLERANCE * len(X), implementation).fit(X, sizes)

    starts = [_by_activity(sample, mode, observed)]
    starts += [_spread_out(sample, mode, observed, rng) for _ in range(RESTARTS - 1)]
    sequences = len(sample.start) - 1
    half = sample.take(np.sort(rng.choice(sequences, -(-sequences // 2), replace=False)))
    for iterations, survivors in HEATS:
        heat = [run(start, half, iterations) for start in starts]
        ranking = sorted(range(len(heat)), key=lambda i: (-heat[i].monitor_.history[-1], i))
        starts = [heat[i].model for i in ranking[:survivors]]
    final = run(starts[0], sample, LONG)
    return (
        final.model.ordered(order_of(final.model, mode, observed)),
        float(final.monitor_.history[-1]) / len(sample.values),
        int(final.monitor_.iter),
    )


def activity(model: Model, mode: Mode, observed: Observed) -> np.ndarray:
    """Expected number of the customer's own events in a step of each state, [K]: summed rates of `mode.activity`."""
    rates = [model.location[:, observed.channels.index(c)] for c in mode.activity if c in observed.channels]
    return np.sum(rates, axis=0)


def order_of(model: Model, mode: Mode, observed: Observed) -> np.ndarray:
    """States by activity, least first. Neighbours within `_EQUAL` of each other count as equally active: chance alone
    would order them, and another sample would swap them. They are ordered by the Gaussian channel that tells them apart
    best: the largest variance of their means over their mean variance.
    """
    level = activity(model, mode, observed)
    order = np.argsort(level, kind="stable")
    near = np.diff(level[order]) < _EQUAL * level[order][1:]
    result: list[int] = []
    for block in np.split(order, np.flatnonzero(~near) + 1):
        means = model.location[block][:, ~observed.poisson]
        if len(block) > 1 and means.shape[1]:
            apart = means.var(axis=0) / model.spread[block][:, ~observed.poisson].mean(axis=0)
            block = block[np.argsort(means[:, apart.argmax()], kind="stable")]
        result += block.tolist()
    return np.array(result)


def _sample(views: Sequence[View], mode: Mode, observed: Observed, rng: np.random.Generator) -> Steps:
    """Sequences of random (customer, date) rows, in natural units, in the order of dates and customers."""
    bounds = np.concatenate([[0], np.cumsum([view.customers.height for view in views])])
    rows = np.arange(bounds[-1])
    if len(rows) > SEQUENCES[mode.name]:
        rows = np.sort(rng.choice(rows, SEQUENCES[mode.name], replace=False))
    parts = []
    for view, first, last in zip(views, bounds[:-1], bounds[1:], strict=True):
        chosen = rows[(rows >= first) & (rows < last)] - first
        size = lengths(view, mode)
        for low in range(0, view.customers.height, _CHUNK):
            chunk = range(low, min(low + _CHUNK, view.customers.height))
            picks = chosen[(chosen >= chunk.start) & (chosen < chunk.stop)]
            parts.append(Steps.of(raw(view, mode, observed, chunk)[picks - low], size[picks]))
    return Steps.joined(parts)


def _standard(values: np.ndarray, poisson: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and normal-consistent interquartile range of each Gaussian channel (standard deviation where the range is
    0); 0 and 1 for counts."""
    centre, scale = np.zeros(len(poisson)), np.ones(len(poisson))
    for c in np.flatnonzero(~poisson):
        seen = values[~np.isnan(values[:, c]), c]
        if len(seen):
            low, centre[c], high = np.quantile(seen, [0.25, 0.5, 0.75])
            spread = (high - low) / 1.349 or seen.std()
            scale[c] = spread if spread > 1e-9 else 1.0
    return centre, scale


def _by_activity(sample: Steps, mode: Mode, observed: Observed) -> Model:
    """States from sequences of equal shares in the order of their mean activity."""
    columns = [observed.channels.index(c) for c in mode.activity if c in observed.channels]
    sequences = len(sample.start) - 1
    owner = np.repeat(np.arange(sequences), np.diff(sample.start))
    level = sum_at(owner, sample.values[:, columns].sum(axis=1), sequences) / sum_at(owner, None, sequences)
    rank = np.empty(len(level), dtype=np.int64)
    rank[np.argsort(level, kind="stable")] = np.arange(len(level))
    group = (rank * mode.states // len(rank))[owner]
    return _model(sample, [group == k for k in range(mode.states)], observed)


def _spread_out(sample: Steps, mode: Mode, observed: Observed, rng: np.random.Generator) -> Model:
    """Each state from a stretch of a random sequence, the stretches far from each other: k-means++ (Arthur and
    Vassilvitskii 2007) on their means, of counts the square root (of which the variance of a Poisson is constant)."""
    sequences = rng.integers(len(sample.start) - 1, size=_CANDIDATES)
    first, last = sample.start[sequences], sample.start[sequences + 1]
    first = first + (rng.random(_CANDIDATES) * np.maximum(last - first - _STRETCH + 1, 1)).astype(np.int64)
    last = np.minimum(first + _STRETCH, last)
    means = np.stack([_mean(sample.values[a:b]) for a, b in zip(first, last, strict=True)])
    means[:, observed.poisson] = np.sqrt(means[:, observed.poisson])
    chosen = [int(rng.integers(_CANDIDATES))]
    nearest = np.full(_CANDIDATES, np.inf)
    while len(chosen) < mode.states:
        nearest = np.minimum(nearest, ((means - means[chosen[-1]]) ** 2).sum(axis=1))
        place = np.searchsorted(np.cumsum(nearest), rng.random() * nearest.sum())
        chosen.append(min(int(place), _CANDIDATES - 1))
    members = [np.zeros(len(sample.values), dtype=bool) for _ in chosen]
    for mask, i in zip(members, chosen, strict=True):
        mask[first[i] : last[i]] = True
    return _model(sample, members, observed)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of the observed values of each channel, 0 (the median of a standardised one) where there is none."""
    seen = ~np.isnan(values)
    return np.where(seen, values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)


def _model(sample: Steps, members: Sequence[np.ndarray], observed: Observed) -> Model:
    """Emissions of the steps of each state, drawn towards the population's by a few pseudo-steps."""
    states, poisson, weight = len(members), observed.poisson, 3.0
    seen = ~np.isnan(sample.values)
    filled = np.where(seen, sample.values, 0.0)
    total = np.maximum(seen.sum(axis=0), 1)
    mean = filled.sum(axis=0) / total
    variance = np.maximum((seen * (filled - mean) ** 2).sum(axis=0) / total, 0.1)
    location = np.stack([(filled[m].sum(axis=0) + weight * mean) / (seen[m].sum(axis=0) + weight) for m in members])
    location = np.where(poisson, np.maximum(location, 1e-3), location)
    transmat = np.full((states, states), (1.0 - _STAY) / (states - 1))
    np.fill_diagonal(transmat, _STAY)
    return Model(
        np.full(states, 1.0 / states),
        transmat,
        poisson,
        location,
        np.tile(np.where(poisson, 1.0, variance), (states, 1)),
    )
