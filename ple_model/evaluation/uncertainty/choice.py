"""Which of several signals is a task's uncertainty, if any.

The best of several candidates looks better than it is on the rows that chose it. So the validation customers are split
in two halves. Each half chooses the candidate that ranks its errors best, and the other half tests it; the error model,
a candidate that is itself fitted, is fitted by the half that chooses (and, where that half judges it, by one quarter
for the other). A signal is kept where it ranks errors beyond its interval in both halves, of which at least one had no
say in its choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import RESAMPLES, Interval
from ple_model.evaluation.kind import Floats, Ints
from ple_model.evaluation.uncertainty.error_model import MIN_ROWS, RidgeParts, apply_weights, excess_in_bins
from ple_model.evaluation.uncertainty.ranking import error_ranking, ranking_statistic

ERROR_MODEL = "error model"
_HALVES = ((0, 1), (2, 3))  # quarters of each


@dataclass(frozen=True)
class Choice:
    """The signal of a task.

    Attributes:
        signal: its name; None where no candidate passed, and `note` says so.
        weights: of the error model over the columns, the mean of both halves'; empty for another signal.
        tested: the statistic of the last candidate that was tested, by half.
        candidates: name → the statistic on all rows (the error model on rows that did not fit it).
        note: why there is none.
    """

    signal: str | None
    weights: tuple[float, ...] = ()
    tested: tuple[Interval, ...] = ()
    candidates: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From its fields as JSON holds them."""
        tested = tuple(Interval(**interval) for interval in data["tested"])
        return cls(**{**data, "weights": tuple(data["weights"]), "tested": tested})


def choose(
    excess: Floats,
    level: Floats,
    customers: NDArray,
    signals: Mapping[str, Floats],
    columns: NDArray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Choice, tuple[NDArray[np.float64], ...]]:
    """The choice, and for each half the weights of its error model (empty where there is none).

    Args:
        excess: [n] of labelled validation rows, as for `error_ranking`.
        level: [n] as for `error_ranking`.
        customers: [n] ids, any sortable type.
        signals: candidates by name, [n] each, larger = more uncertain.
        columns: [n, c] that the error model may read; None leaves it out.
        resamples: of the intervals.
        seed: splits the customers and draws the resamples.
    """
    customer, quarter = quarters(customers, seed)
    rows = np.bincount(quarter, minlength=4)
    if rows.min() < MIN_ROWS or np.ptp(excess) == 0:
        note = f"{len(excess)} labelled validation rows, or errors that do not vary: too little to test a signal with"
        return Choice(None, note=note), ()
    half = np.where(quarter < 2, 0, 1)
    judged = {name: np.asarray(values, dtype=np.float64) for name, values in signals.items()}
    tested = dict(judged)
    models: tuple[NDArray[np.float64], ...] = ()
    if columns is not None and columns.shape[1]:
        target = np.empty(len(excess))
        for one in (0, 1):
            target[half == one] = excess_in_bins(excess[half == one], level[half == one])
        parts = RidgeParts(columns, target, quarter, 4)
        models = tuple(parts.weights(own) for own in _HALVES)
        by_quarter = [apply_weights(parts.weights([other]), columns) for other in (1, 0, 3, 2)]
        by_half = [apply_weights(models[other], columns) for other in (1, 0)]
        judged[ERROR_MODEL] = np.choose(quarter, by_quarter)
        tested[ERROR_MODEL] = np.choose(half, by_half)
    found = {name: _estimate(values, excess, level, customer) for name, values in tested.items()}
    proposed = []
    for one in (0, 1):
        own = half == one
        values = {name: _estimate(v[own], excess[own], level[own], customer[own]) for name, v in judged.items()}
        best = max(values, key=lambda name: values[name], default=None)
        if best is not None and values[best] > 0:
            proposed.append(best)
    intervals: tuple[Interval, ...] = ()
    for name in dict.fromkeys(proposed):
        intervals = tuple(
            error_ranking(
                tested[name][half == one],
                excess[half == one],
                level[half == one],
                customer[half == one],
                resamples=resamples,
                seed=seed,
            )
            for one in (0, 1)
        )
        if all(interval.low is not None and interval.low > 0 for interval in intervals):
            weights = np.mean(models, axis=0).tolist() if name == ERROR_MODEL else ()
            return Choice(name, tuple(weights), intervals, found), models
    return Choice(None, (), intervals, found, "no signal ranks its errors among equal predictions"), ()


def quarters(customers: NDArray, seed: int) -> tuple[Ints, Ints]:
    """([n] customer as an integer, [n] quarter 0 to 3 that the customer's rows fall into)."""
    names, customer = np.unique(np.asarray(customers), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return customer.reshape(-1), (order % 4)[customer.reshape(-1)]


def _estimate(signal: Floats, excess: Floats, level: Floats, customer: Ints) -> float:
    if np.ptp(signal) == 0 or np.ptp(excess) == 0:
        return 0.0
    statistic = ranking_statistic(signal, excess, level, customer)
    return float(statistic(np.ones((1, int(customer.max()) + 1)))[0])
