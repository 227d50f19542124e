"""Binary tasks: the probability that something happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logit

from ple_model.boosting.kind import BoostingPlan
from ple_model.evaluation import classes, metrics, reliability
from ple_model.evaluation.bootstrap import auc_statistic, average_precision_statistic, mean_statistic
from ple_model.evaluation.calibration import BinaryCalibrator, Calibrator
from ple_model.evaluation.kind import EPSILON, Bools, Floats, Headline, Ints, Statistic
from ple_model.tasks.kind import Kind, Units, finite_numbers, labelled, refuse

if TYPE_CHECKING:
    from torch import Tensor

    from ple_model.boosting.budget import BoostingBudget
    from ple_model.tasks.config import TaskConfig


class Binary(Kind):
    """One logit, focal loss or log loss, Platt scaling, judged by AUC. Source: MODEL §2, §9."""

    name: ClassVar[str] = "binary"
    losses: ClassVar[tuple[str, ...]] = ("focal", "log_loss")
    plain_loss: ClassVar[str] = "log_loss"
    headline: ClassVar[Headline] = Headline("auc", "AUC", 1, 0.01, "one pair in a hundred is ordered otherwise")
    resampled: ClassVar[tuple[str, ...]] = ("auc", "pr_auc", "log_loss", "brier")
    is_probability: ClassVar[bool] = True
    meaning_of_value: ClassVar[str] = "calibrated probability"
    summed_up_as: ClassVar[str] = "Mean probability"
    explained_in: ClassVar[str] = "log odds"

    def check(self, task: TaskConfig) -> None:
        super().check(task)
        if task.out != 1:
            raise ValueError(f"task {task.name!r}: a binary task has out = 1, not {task.out}")

    def width(self, task: TaskConfig) -> int:
        return 1

    def targets(self, task: TaskConfig, column: pl.Series) -> tuple[NDArray, NDArray[np.bool_]]:
        numbers = finite_numbers(column, task.name)
        refuse(numbers.filter((numbers != 0) & (numbers != 1)), task.name, "0 and 1")
        return numbers.fill_null(0.0).to_numpy().astype(np.float32), labelled(column)

    def row_losses(
        self,
        task: TaskConfig,
        raw: Tensor,
        label: Tensor,
        mask: Tensor,
        units: Units,
        training: bool,
        beside: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        from ple_model.tasks.row_losses import focal, log_loss

        safe = label.float().where(mask, 0.0)
        if task.loss == "log_loss":
            return log_loss(raw.squeeze(-1), safe), mask
        return focal(raw.squeeze(-1), safe, task.focal_gamma or 0.0, task.focal_alpha or 0.5), mask

    def constant_loss(self, task: TaskConfig, labels: Tensor, units: Units) -> float:
        from ple_model.tasks.row_losses import class_entropy, least_focal

        if task.loss == "log_loss":
            return class_entropy(labels.long(), 2)
        return least_focal(labels, task.focal_gamma or 0.0, task.focal_alpha or 0.5)

    def to_units(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        return raw.float().squeeze(-1).sigmoid()

    def uncalibrated(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        return raw.float().squeeze(-1)

    def average(self, raw: Tensor) -> Tensor:
        import torch

        return torch.logit(raw.float().sigmoid().mean(0), eps=1e-7)

    def spread(self, raw: Tensor) -> Tensor:
        """Standard deviation of the probability."""
        return raw.float().sigmoid().std(0, correction=0).squeeze(-1)

    def evidence_classes(self, task: TaskConfig, buckets: int) -> int | None:
        return 2

    def fits(self, predictions: NDArray, labels: NDArray) -> bool:
        return predictions.ndim == labels.ndim == 1

    def bad_labels(self, labels: NDArray, width: int) -> Bools:
        return (labels != 0) & (labels != 1)

    def measure(self, predictions: Floats, labels: NDArray) -> dict[str, float | str]:
        return {
            "auc": classes.auc(predictions, labels),
            "pr_auc": classes.average_precision(predictions, labels),
            "log_loss": metrics.binary_loss(predictions, labels).mean(),
            "brier": ((predictions - labels) ** 2).mean(),
            **reliability.calibration_metrics(predictions, labels),
            "base_rate": labels.mean(),
        }

    def metric_names(self, width: int = 1) -> tuple[str, ...]:
        return ("auc", "pr_auc", "log_loss", "brier", *reliability.METRICS, "base_rate")

    def statistic(self, name: str, x: Floats, y: NDArray, cluster: Ints, clusters: int) -> Statistic:
        if name == "auc":
            return auc_statistic(x, y, cluster)
        if name == "pr_auc":
            return average_precision_statistic(x, y, cluster)
        values = (x - y) ** 2 if name == "brier" else metrics.binary_loss(x, y)
        return mean_statistic(values, cluster, clusters)

    def calibrator(self, outputs: NDArray) -> type[Calibrator]:
        return BinaryCalibrator

    def outputs_of(self, predictions: Floats) -> Floats:
        return logit(np.clip(np.asarray(predictions, dtype=np.float64), EPSILON, 1 - EPSILON))

    def likelihood(self, predictions: Floats, labels: NDArray) -> Floats | None:
        return np.where(labels == 1, predictions, 1 - predictions)

    def constant(self, labels: NDArray, width: int) -> NDArray[np.float64]:
        return np.asarray(labels.astype(np.float64).mean())

    def base_values(self, labels: NDArray, width: int) -> Floats:
        return labels.astype(np.float64)[:, None]

    def errors(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """Squared error."""
        return np.asarray((predictions - labels) ** 2)

    def expected_errors(self, predictions: Floats) -> Floats:
        """The variance p(1 − p)."""
        return np.asarray(predictions * (1 - predictions))

    def boosting(self, budget: BoostingBudget, labels: NDArray, constant: Floats, width: int) -> BoostingPlan:
        return BoostingPlan(budget.single, {"objective": "binary", "metric": "binary_logloss"})

    def curve(self, predictions: NDArray, labels: NDArray) -> tuple[Floats, Floats] | None:
        """The probability of 1 against the label."""
        return predictions, labels.astype(np.float64)

    def in_range(self, predictions: Floats) -> Floats:
        return np.clip(predictions, EPSILON, 1 - EPSILON)

    def score_columns(
        self, task: TaskConfig, predictions: Floats, names: Sequence[str], base: Sequence[float]
    ) -> list[pl.Series]:
        return [pl.Series(task.name, predictions, dtype=pl.Float64)]
