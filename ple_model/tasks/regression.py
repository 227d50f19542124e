"""Regression tasks: one or several numbers in the label's unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ple_model.boosting.kind import BoostingPlan
from ple_model.evaluation import values
from ple_model.evaluation.bootstrap import mean_statistic, r2_statistic
from ple_model.evaluation.calibration import Calibrator, OutputsCalibrator, RegressionCalibrator
from ple_model.evaluation.conformal import Intervals, Region
from ple_model.evaluation.kind import Bools, Floats, Headline, Ints, Statistic
from ple_model.tasks.kind import Kind, Units, finite_numbers, in_order, labelled, list_column, refuse

if TYPE_CHECKING:
    from torch import Tensor

    from ple_model.boosting.budget import BoostingBudget
    from ple_model.tasks.config import TaskConfig


class Regression(Kind):
    """Standardised values, Huber or squared error, an affine calibrator, judged by R². Source: MODEL §2, §9.

    A task of several outputs has lists of `out` numbers as labels and predictions [n, out]; metrics are over all
    outputs together.
    """

    name: ClassVar[str] = "regression"
    losses: ClassVar[tuple[str, ...]] = ("mse", "huber")
    plain_loss: ClassVar[str] = "mse"
    headline: ClassVar[Headline] = Headline("r2", "R²", 1, 0.01, "a hundredth of the labels' spread")
    resampled: ClassVar[tuple[str, ...]] = ("r2", "rmse", "mae")
    label_dtype: ClassVar[type[np.generic]] = np.float64
    has_intervals: ClassVar[bool] = True
    standardised: ClassVar[bool] = True
    meaning_of_value: ClassVar[str] = "calibrated value"
    summed_up_as: ClassVar[str] = "Mean prediction"

    def width(self, task: TaskConfig) -> int:
        return task.out

    def targets(self, task: TaskConfig, column: pl.Series) -> tuple[NDArray, NDArray[np.bool_]]:
        if task.out == 1:
            return finite_numbers(column, task.name).fill_null(0.0).to_numpy().astype(np.float32), labelled(column)
        lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        refuse(lists.filter(lists.list.len() != task.out), task.name, f"lists of {task.out} numbers")
        given = labelled(lists)
        values = np.zeros((len(lists), task.out), dtype=np.float32)
        if given.any():
            flat = lists.drop_nulls().explode().cast(pl.Float64)
            refuse(flat.filter(~flat.is_finite().fill_null(False)), task.name, "finite numbers")
            values[given] = flat.to_numpy().reshape(-1, task.out)
        return values, given

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
        from ple_model.tasks.row_losses import value_losses

        safe = label.float().where(mask.unsqueeze(-1) if label.dim() == 2 else mask, 0.0)
        value = units.scale(task.name).standardise(safe)
        return value_losses(raw, value, task.loss, task.huber_delta), mask

    def constant_loss(self, task: TaskConfig, labels: Tensor, units: Units) -> float:
        from ple_model.tasks.row_losses import least_value_loss

        return least_value_loss(units.scale(task.name).standardise(labels), task.loss, task.huber_delta)

    def fit_units(self, task: TaskConfig, labels: Tensor, units: Units) -> None:
        if len(labels):
            std = labels.double().std(0, correction=0)
            units.set_target_scale(task.name, labels.double().mean(0), std.where(std > 0, 1.0))

    def to_units(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        value = units.scale(task.name).restore(raw)
        return value.squeeze(-1) if value.shape[-1] == 1 else value

    def average(self, raw: Tensor) -> Tensor:
        return raw.mean(0)

    def spread(self, raw: Tensor) -> Tensor:
        """Standard deviation of the standardised value, mean over outputs."""
        return raw.float().std(0, correction=0).mean(-1)

    def evidence_classes(self, task: TaskConfig, buckets: int) -> int | None:
        return None

    def evidence_labels(
        self,
        task: TaskConfig,
        label: Tensor,
        mask: Tensor,
        classes: int | None,
        standardise: Callable[[str, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        return standardise(task.name, label), mask

    def fits(self, predictions: NDArray, labels: NDArray) -> bool:
        return predictions.shape[1:] == labels.shape[1:] and predictions.ndim in (1, 2)

    def bad_labels(self, labels: NDArray, width: int) -> Bools:
        return np.asarray(~np.isfinite(labels).reshape(len(labels), width).all(axis=1))

    def measure(self, predictions: Floats, labels: NDArray) -> dict[str, float | str]:
        error = predictions - labels
        return {
            "r2": values.r2(predictions, labels),
            "rmse": np.sqrt((error**2).mean()),
            "mae": np.abs(error).mean(),
            "spearman": values.spearman(predictions, labels),
        }

    def metric_names(self, width: int = 1) -> tuple[str, ...]:
        return ("r2", "rmse", "mae", "spearman")

    def statistic(self, name: str, x: Floats, y: NDArray, cluster: Ints, clusters: int) -> Statistic:
        if name == "r2":
            return r2_statistic(x, y, cluster, clusters)
        error = values.columns(x - y)
        by_row = (np.abs(error) if name == "mae" else error**2).mean(axis=0)
        return mean_statistic(by_row, cluster, clusters, root=name == "rmse")

    def calibrator(self, outputs: NDArray) -> type[Calibrator]:
        return OutputsCalibrator if outputs.ndim == 2 else RegressionCalibrator

    def constant(self, labels: NDArray, width: int) -> NDArray[np.float64]:
        return np.asarray(labels.astype(np.float64).mean(axis=0))

    def base_values(self, labels: NDArray, width: int) -> Floats:
        return labels.astype(np.float64).reshape(len(labels), width)

    def errors(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """Absolute error, the mean over outputs."""
        return np.abs(values.columns(predictions - labels)).mean(axis=0)

    def region(self, predictions: Floats, labels: NDArray, u: Floats | None, level: float) -> Region | None:
        """An interval of the value; for several outputs of their sum."""
        return Intervals.fit(self.level(predictions), self.level(labels), u, level)

    def boosting(self, budget: BoostingBudget, labels: NDArray, constant: Floats, width: int) -> BoostingPlan:
        objective = {"objective": "regression", "metric": "l2"}
        if width == 1:
            return BoostingPlan(budget.single, objective)
        columns = {output: labels[:, output] for output in range(width)}
        return BoostingPlan(budget.single, objective, columns=columns, models="outputs", kept="the mean")

    def boosted_models(self, budget: BoostingBudget, width: int) -> int:
        return width

    def score_columns(
        self, task: TaskConfig, predictions: Floats, names: Sequence[str], base: Sequence[float]
    ) -> list[pl.Series]:
        """The value; for several outputs their sum, and beside it each of them."""
        if predictions.ndim == 1:
            return [pl.Series(task.name, predictions, dtype=pl.Float64)]
        each = list_column(f"{task.name}__each", pl.Series(predictions.ravel()), predictions.shape)
        return [pl.Series(task.name, predictions.sum(axis=1), dtype=pl.Float64), each]

    def region_columns(
        self, task: str, predictions: Floats, region: NDArray | None, names: Sequence[str]
    ) -> list[pl.Series]:
        """Low and high end of the interval; null without one."""
        ends = [None] * 2 if region is None else list(region.T)
        rows = len(predictions)
        return [
            pl.Series(f"{task}__{name}", [None] * rows if end is None else end, dtype=pl.Float64)
            for name, end in zip(("low", "high"), ends, strict=True)
        ]

    def region_meanings(self) -> dict[str, str]:
        return {
            "low": "low end of the interval that holds the value in {level} of cases",
            "high": "high end of the interval that holds the value in {level} of cases",
        }

    def own_columns(self, task: Mapping[str, Any]) -> dict[str, str]:
        return {"each": f"value of each output{in_order(task)}; they add up to the task's value"}
