"""u in [0, 1] of each row and task, and the prediction of a row whose u is too high.

u is that of the model's evidential heads. Where a model has none it is the entropy of the calibrated prediction over
its largest possible value (binary, multiclass, contrastive over the brand table), or the conformal half-width over the
label's range (regression; the range from the 1 % to the 99 % quantile of the training labels), clipped to [0, 1].

A row with u above the task's threshold is a *fallback*: its prediction is replaced by the base rates of the clusters,
weighted by the row's posterior. The threshold is set on validation rows, so that at least a stated share of them keeps
its own prediction. A half-width has one value a bin of predictions: where the widest bin holds more rows than may fall
back, none of them does.

Source: MODEL §11.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.calibration import Calibrator
from ple_model.evaluation.kind import Bools, EvaluatedKind, Floats

COVERAGE = 0.98
SHRINKAGE_ROWS = 50.0  # rows' worth of the population in each cluster's base rate


@dataclass(frozen=True)
class Judged:
    """Predictions in final form, fallback rows replaced; u [n] in [0, 1]; fallback [n]."""

    predictions: NDArray[np.float64]
    u: NDArray[np.float64]
    fallback: Bools


@dataclass(frozen=True)
class TaskUncertainty:
    """Fitted state of one task.

    `label_range` (label's unit) is used by regression only. `population` is the base rate of all training rows, as a
    tuple of width 1 (binary: probability, regression: mean), of O means, or of K or M (a distribution); `clusters` [C]
    holds the same for each cluster.
    `kept` is the share of validation rows with u ≤ threshold.
    """

    kind: str
    threshold: float
    coverage: float
    kept: float
    validation_rows: int
    label_range: float
    population: tuple[float, ...]
    clusters: tuple[tuple[float, ...], ...]
    note: str = ""

    def base_rate(self, cluster_probs: NDArray) -> NDArray[np.float64]:
        """[n] or [n, width] base rate of rows with posteriors [n, C]; a posterior's missing weight is the population's.

        Summed cluster by cluster, so that a row has the same bytes whatever batch it comes in.
        """
        posterior = np.asarray(cluster_probs, dtype=np.float64)
        if posterior.ndim != 2 or posterior.shape[1] != len(self.clusters):
            raise ValueError(f"posteriors {posterior.shape} for {len(self.clusters)} clusters")
        rates = np.asarray(self.clusters)
        rest = np.ones(len(posterior))
        total = np.zeros((len(posterior), rates.shape[1]))
        for cluster, rate in enumerate(rates):
            rest -= posterior[:, cluster]
            total += posterior[:, cluster, None] * rate
        total += rest[:, None] * np.asarray(self.population)
        return total[:, 0] if len(self.population) == 1 else total

    def judge(
        self, calibrator: Calibrator, outputs: NDArray, cluster_probs: NDArray, evidential: NDArray | None = None
    ) -> Judged:
        """Calibrate raw outputs (as for `calibration.fit_calibrator`), measure u or take the evidential one [n], and
        replace the rows that fall back."""
        predictions = calibrator.apply(outputs)
        u = _u(calibrator, predictions, self.label_range, evidential)
        fallback = u > self.threshold
        predictions[fallback] = self.base_rate(np.asarray(cluster_probs)[fallback])
        return Judged(predictions, u, fallback)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TaskUncertainty":
        """The state that `to_dict` described."""
        fields = dict(data)
        fields["population"] = tuple(fields["population"])
        fields["clusters"] = tuple(tuple(row) for row in fields["clusters"])
        return cls(**fields)


def _u(calibrator: Calibrator, predictions: Floats, label_range: float, evidential: NDArray | None) -> Floats:
    if evidential is None:
        return calibrator.uncertainty(predictions, label_range)
    return np.clip(np.asarray(evidential, dtype=np.float64), 0.0, 1.0)


def fit_uncertainty(
    kind: EvaluatedKind,
    calibrator: Calibrator,
    validation_outputs: NDArray,
    train_labels: NDArray,
    train_mask: NDArray,
    train_cluster_probs: NDArray,
    width: int,
    coverage: float = COVERAGE,
    evidential: NDArray | None = None,
) -> TaskUncertainty:
    """Threshold from validation rows, base rates from training rows.

    Args:
        kind: of the task.
        calibrator: its fitted calibrator.
        validation_outputs: raw outputs of the rows that the coverage is stated for.
        train_labels: [n], [n, O] or [n, P].
        train_mask: [n] bool, True = labelled.
        train_cluster_probs: [n, C] posteriors.
        width: number of classes, brands or outputs.
        coverage: least share of validation rows that keep their own prediction.
        evidential: u of the validation rows where the model has evidential heads.

    Raises:
        ValueError: no training row has a label, or coverage outside (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage {coverage} is outside (0, 1]")
    mask = np.asarray(train_mask, dtype=bool)
    labels = np.asarray(train_labels)[mask]
    if len(labels) == 0:
        raise ValueError(f"{kind.name}: no training row has a label, so there is no base rate")
    population, clusters = _base_rates(kind, labels, np.asarray(train_cluster_probs, dtype=np.float64)[mask], width)
    label_range = kind.label_range(labels)
    u = _u(calibrator, calibrator.apply(validation_outputs), label_range, evidential)
    if len(u):
        threshold = float(np.sort(u)[int(np.ceil(coverage * len(u) - 1e-9)) - 1])
        kept, note = float((u <= threshold).mean()), ""
    else:
        threshold, kept, note = 1.0, 1.0, "no validation rows: nothing falls back"
    return TaskUncertainty(
        kind.name,
        threshold,
        coverage,
        kept,
        len(u),
        label_range,
        tuple(population.tolist()),
        tuple(tuple(row) for row in clusters.tolist()),
        note,
    )


def _base_rates(kind: EvaluatedKind, labels: NDArray, posterior: Floats, width: int) -> tuple[Floats, Floats]:
    """Population [w] and clusters [C, w]: posterior-weighted means, each with `SHRINKAGE_ROWS` of the population."""
    values = kind.base_values(labels, width)
    population = values.mean(axis=0)
    weight = posterior.sum(axis=0)[:, None]
    return population, (posterior.T @ values + SHRINKAGE_ROWS * population) / (weight + SHRINKAGE_ROWS)
