"""What an uncertainty and a region are worth on test rows: risk and coverage, errors by quarter of u, coverage of the
regions.

Risk–coverage curve: keep the share c of rows with the lowest u; the risk is their mean error (`EvaluatedKind.errors`).
AURC, the area under it, is the mean risk over all numbers of rows kept. It stands beside the AURC of an order that does
not know the rows, which is the mean error, and of one that knows the errors themselves: no u can do better.

Sources: Geifman, Uziel and El-Yaniv (2019); Traub et al. (2024) on how the AURC is to be read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, draw_counts, mean_statistic
from ple_model.evaluation.conformal import Region
from ple_model.evaluation.kind import EvaluatedKind, Floats, Ints
from ple_model.evaluation.metrics import take_rows
from ple_model.evaluation.uncertainty.ranking import error_ranking

QUARTERS = 4
_POINTS = 20


@dataclass(frozen=True)
class Selective:
    """u of one task on its labelled test rows.

    Attributes:
        rows: how many.
        ranking: of errors among equal predictions (`ranking.error_ranking`).
        aurc: of u.
        aurc_random: of an order that knows nothing.
        aurc_best: of the order of the errors.
        error: mean error by quarter of u, the most certain rows first.
        excess: the same of the error beyond what the prediction leads to expect.
        curve: (share of rows kept, risk).
    """

    rows: int
    ranking: Interval
    aurc: float
    aurc_random: float
    aurc_best: float
    error: tuple[float, ...]
    excess: tuple[float, ...]
    curve: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Coverage:
    """Share of labelled test rows whose region holds the label, beside the `stated` one; `size`: mean width (label's
    unit) or number of classes."""

    stated: float
    held: Interval
    size: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def selective(
    kind: EvaluatedKind,
    predictions: NDArray,
    labels: NDArray,
    mask: NDArray | None,
    customers: NDArray,
    u: NDArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Selective | None:
    """From final predictions and labels as for `metrics.evaluate`, customers [n] and u [n]; None where no labelled row
    shows its error."""
    x, y = take_rows(kind, predictions, labels, mask)
    errors = kind.errors(x, y) if len(y) else None
    if errors is None:
        return None
    given = slice(None) if mask is None else np.asarray(mask, dtype=bool)
    own = np.asarray(u, dtype=np.float64)[given]
    excess = errors - kind.expected_errors(x)
    whose = np.asarray(customers)[given]
    risks = risk_by_rows(errors, own)
    kept = np.unique(np.ceil(np.linspace(1 / _POINTS, 1, _POINTS) * len(own)).astype(np.int64))
    order = np.argsort(own, kind="stable")
    parts = [part for part in np.array_split(order, QUARTERS) if len(part)]
    return Selective(
        rows=len(own),
        ranking=error_ranking(own, excess, kind.level(x), whose, resamples=resamples, seed=seed),
        aurc=float(risks.mean()),
        aurc_random=float(errors.mean()),
        aurc_best=float(risk_by_rows(errors, errors).mean()),
        error=tuple(float(errors[part].mean()) for part in parts),
        excess=tuple(float(excess[part].mean()) for part in parts),
        curve=tuple((float(k / len(own)), float(risks[k - 1])) for k in kept),
    )


def risk_by_rows(errors: Floats, u: Floats) -> NDArray[np.float64]:
    """[n] mean error of the k rows of lowest u, k = 1 … n. Rows of equal u come in any order: each counts as their
    mean."""
    _, which = np.unique(u, return_inverse=True)
    flat = which.reshape(-1)
    shared = (np.bincount(flat, weights=errors) / np.bincount(flat))[flat]
    ordered = shared[np.argsort(flat, kind="stable")]
    return np.asarray(np.cumsum(ordered) / np.arange(1, len(ordered) + 1))


def coverage(
    kind: EvaluatedKind,
    region: Region,
    found: NDArray,
    labels: NDArray,
    mask: NDArray,
    customers: NDArray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Coverage | None:
    """Of the regions `found` [n, …] of test rows with labels [n], mask [n] and customers [n]; None without a labelled
    row."""
    given = np.asarray(mask, dtype=bool)
    if not given.any():
        return None
    known = np.asarray(labels)[given].astype(kind.label_dtype)
    held = region.holds(found[given], known).astype(np.float64)
    whose = np.unique(np.asarray(customers)[given], return_inverse=True)[1].reshape(-1)
    return Coverage(
        region.level, _mean(held, whose, resamples, seed), float(region.sizes(found[given]).mean()), len(held)
    )


def _mean(values: Floats, whose: Ints, resamples: int, seed: int) -> Interval:
    customers = int(whose.max()) + 1
    if customers < 2:
        return Interval(float(values.mean()), None, None, "one customer only: nothing to resample")
    drawn = mean_statistic(values, whose, customers)(draw_counts(customers, resamples, seed))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values.mean()), float(low), float(high))
