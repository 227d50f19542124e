"""Whether probabilities mean what they say: calibration error in bins of equal mass, and a test against none at all.

The gap of a bin is its mean probability less its rate of hits. The plain error, Σ share · |gap|, is above 0 even for a
perfect forecast, the more so the fewer rows a bin has. Two ways around that:

- `debiased_error` takes the expected square of a gap's own noise off its square: √max(0, Σ share · (gap² − var gap)).
  The mean square is at least the square of the mean: a bound on it bounds the plain error as well. Departure: the
  variance is that of the residuals, not ȳ(1 − ȳ) (the same where a bin's probabilities are equal), so the rows of one
  customer may depend on each other.
- `calibration_test` asks how often a calibrated forecast would show an error as large. Where customers have several
  rows, the signs of whole customers' residuals are drawn instead of labels (wild cluster bootstrap): labels drawn one
  by one would be less spread than dependent ones.

Sources: Ferro and Fricker, "A bias-corrected decomposition of the Brier score" (2012), and Kumar, Liang and Ma,
"Verified uncertainty calibration" (NeurIPS 2019, §5), the debiased error; Bröcker and Smith, "Increasing the
reliability of reliability diagrams" (2007), and Vaicenavicius et al. (AISTATS 2019), the test; Cameron, Gelbach and
Miller (2008), the wild cluster bootstrap; Roelofs et al., "Mitigating bias in calibration error estimation" (AISTATS
2022), bins of equal mass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import Floats, Ints

BINS = 15
MIN_BIN_ROWS = 10
DRAWS = 199
METRICS = ("ece", "ece_debiased", "calibration_p")
LEVEL = 0.05
_CHUNK = 32  # draws held at once: 32 × 60,000 rows × 8 bytes = 15 MB


@dataclass(frozen=True)
class Calibration:
    """Calibration of probabilities on so many rows and customers.

    error: Σ share · |gap|. debiased: root of the debiased mean square. p: share of calibrated forecasts with an error
    as large as this one's.
    """

    rows: int
    customers: int
    error: float
    debiased: float
    p: float

    @property
    def distinguishable(self) -> bool:
        """Whether the test tells the probabilities from calibrated ones at `LEVEL`."""
        return self.p < LEVEL

    @property
    def statement(self) -> str:
        """The finding in words."""
        if self.distinguishable:
            return f"not calibrated: error {self.debiased:.3f} without bias, p = {self.p:.3f}"
        return f"not distinguishable from calibrated on {self.rows:,} rows (p = {self.p:.2f})"


def calibration_metrics(probability: Floats, hit: NDArray) -> dict[str, float]:
    """`METRICS` of rows that are taken as independent."""
    found = judge_calibration(probability, hit)
    return dict(zip(METRICS, (found.error, found.debiased, found.p), strict=True))


def judge_calibration(
    probability: Floats, hit: NDArray, customers: NDArray | Sequence[Any] | None = None, seed: int = 0
) -> Calibration:
    """All three figures of probabilities [n] and whether each came true [n], n ≥ 1.

    Args:
        probability: of what `hit` says.
        hit: 0 or 1.
        customers: [n] ids whose rows depend on each other; None takes the rows as independent.
        seed: of the test's draws.
    """
    return Calibration(
        len(probability),
        len(np.unique(customers)) if customers is not None else len(probability),
        expected_calibration_error(probability, hit),
        debiased_error(probability, hit, customers),
        calibration_test(probability, hit, customers, seed),
    )


def mass_bins(probability: Floats, bins: int = BINS) -> Ints:
    """[n] bin of each row: bins of equal mass, equal probabilities in one bin, fewer bins of few rows."""
    bins = max(1, min(bins, len(probability) // MIN_BIN_ROWS))
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, probability, side="left"), return_inverse=True)[1].reshape(-1)


def expected_calibration_error(probability: Floats, hit: NDArray, bins: int = BINS) -> float:
    """Σ_bins share · |mean probability − hit rate|."""
    index = mass_bins(probability, bins)
    return float(np.abs(np.bincount(index, weights=probability - hit)).sum() / len(probability))


def debiased_error(
    probability: Floats, hit: NDArray, customers: NDArray | Sequence[Any] | None = None, bins: int = BINS
) -> float:
    """√max(0, Σ_bins share · (gap² − var gap)); a bin of one customer keeps its whole square."""
    index, residual = mass_bins(probability, bins), np.asarray(probability - hit, dtype=np.float64)
    rows = np.bincount(index)
    gap = np.bincount(index, weights=residual) / rows
    owner = np.arange(len(index)) if customers is None else np.unique(customers, return_inverse=True)[1].reshape(-1)
    cell, of = np.unique(index * (owner.max() + 1) + owner, return_inverse=True)
    sums = np.bincount(of.reshape(-1), weights=residual - gap[index])
    bin_of_cell = cell // (owner.max() + 1)
    members = np.bincount(bin_of_cell)
    noise = np.bincount(bin_of_cell, weights=sums**2) * members / np.maximum(members - 1, 1) / rows**2
    return float(np.sqrt(max(0.0, float((rows * (gap**2 - noise)).sum() / len(index)))))


def calibration_test(
    probability: Floats,
    hit: NDArray,
    customers: NDArray | Sequence[Any] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    bins: int = BINS,
) -> float:
    """Share of `draws` calibrated forecasts (and this one) whose calibration error is at least as large."""
    rng = np.random.default_rng(seed)
    index, residual = mass_bins(probability, bins), np.asarray(probability - hit, dtype=np.float64)
    observed = np.abs(np.bincount(index, weights=residual)).sum()
    if customers is None:
        errors = _drawn_labels(rng, np.asarray(probability), index, draws)
    else:
        owner = np.unique(customers, return_inverse=True)[1].reshape(-1)
        width = int(index.max()) + 1
        sums = np.bincount(owner * width + index, weights=residual, minlength=(int(owner.max()) + 1) * width)
        signs = rng.integers(0, 2, (draws, int(owner.max()) + 1)) * 2.0 - 1.0
        errors = np.abs(signs @ sums.reshape(-1, width)).sum(axis=1)
    return float((1 + (errors >= observed * (1 - 1e-12)).sum()) / (1 + draws))


def _drawn_labels(rng: np.random.Generator, probability: Floats, index: Ints, draws: int) -> Floats:
    """[draws] Σ |gap sums| of labels that are drawn from the probabilities."""
    order = np.argsort(index, kind="stable")
    chance = probability[order]
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    errors = np.empty(draws)
    for first in range(0, draws, _CHUNK):
        some = min(_CHUNK, draws - first)
        residual = chance - (rng.random((some, len(chance))) < chance)
        errors[first : first + some] = np.abs(np.add.reduceat(residual, starts, axis=1)).sum(axis=1)
    return errors
