"""Multiclass tasks: which of several classes applies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ple_model.boosting.kind import BoostingPlan
from ple_model.evaluation import classes, metrics, reliability
from ple_model.evaluation.bootstrap import f1_statistic, mean_statistic
from ple_model.evaluation.calibration import Calibrator, MulticlassCalibrator
from ple_model.evaluation.conformal import Region, Sets
from ple_model.evaluation.constant import smoothed_counts
from ple_model.evaluation.kind import EPSILON, Bools, Floats, Headline, Ints, Statistic
from ple_model.tasks.kind import Kind, Units, in_order, labelled, list_column, refuse

if TYPE_CHECKING:
    from torch import Tensor

    from ple_model.boosting.budget import BoostingBudget
    from ple_model.tasks.config import TaskConfig


class Multiclass(Kind):
    """A logit for each class, negative log likelihood, softmax, judged by log loss. Source: MODEL §2, §9."""

    name: ClassVar[str] = "multiclass"
    losses: ClassVar[tuple[str, ...]] = ("nll",)
    plain_loss: ClassVar[str] = "nll"
    headline: ClassVar[Headline] = Headline(
        "log_loss", "log loss", -1, 0.01, "a share: losses of 4 and of 28 classes have other sizes", relative=True
    )
    resampled: ClassVar[tuple[str, ...]] = ("log_loss", "brier", "accuracy", "macro_f1")
    exclusive: ClassVar[bool] = True
    meaning_of_value: ClassVar[str] = "most likely class"
    summed_up_as: ClassVar[str] = "Commonest answer"
    explained_in: ClassVar[str] = "log probability of the class"

    def check(self, task: TaskConfig) -> None:
        super().check(task)
        if task.out < 2:
            raise ValueError(f"task {task.name!r}: a multiclass task has at least 2 classes, not {task.out}")

    def with_classes(self, count: int) -> dict[str, int]:
        return {"out": count}

    def width(self, task: TaskConfig) -> int:
        return task.out

    def targets(self, task: TaskConfig, column: pl.Series) -> tuple[NDArray, NDArray[np.bool_]]:
        indices = column.cast(pl.Int64)
        refuse(indices.filter((indices < 0) | (indices >= task.out)), task.name, f"classes 0 to {task.out - 1}")
        return indices.fill_null(0).to_numpy().copy(), labelled(column)

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
        from torch.nn.functional import cross_entropy

        return cross_entropy(raw.float(), label.where(mask, 0), reduction="none"), mask

    def constant_loss(self, task: TaskConfig, labels: Tensor, units: Units) -> float:
        from ple_model.tasks.row_losses import class_entropy

        return class_entropy(labels, task.out)

    def to_units(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        return raw.float().softmax(-1)

    def uncalibrated(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        return raw.float()

    def average(self, raw: Tensor) -> Tensor:
        import torch

        return torch.logsumexp(raw.float().log_softmax(-1), dim=0) - math.log(len(raw))

    def spread(self, raw: Tensor) -> Tensor:
        """Mutual information of class and member: the entropy of the mean less the mean of the entropies."""
        import torch

        p = raw.float().softmax(-1)
        return (torch.special.entr(p.mean(0)).sum(-1) - torch.special.entr(p).sum(-1).mean(0)).clamp(min=0)

    def fits(self, predictions: NDArray, labels: NDArray) -> bool:
        return (predictions.ndim, labels.ndim) == (2, 1)

    def bad_labels(self, labels: NDArray, width: int) -> Bools:
        return ~((labels >= 0) & (labels < width))

    def measure(self, predictions: Floats, labels: NDArray) -> dict[str, float | str]:
        predicted = predictions.argmax(axis=1)
        areas = [classes.auc(predictions[:, k], (labels == k).astype(np.int64)) for k in np.unique(labels)]
        return {
            "log_loss": metrics.multiclass_loss(predictions, labels).mean(),
            "brier": metrics.multiclass_brier(predictions, labels).mean(),
            "accuracy": (predicted == labels).mean(),
            f"top_{classes.TOP_K}_accuracy": classes.top_k_accuracy(predictions, labels),
            "macro_f1": classes.macro_f1(predicted, labels),
            **reliability.calibration_metrics(*self.curve(predictions, labels)),
            "macro_auc": float(np.mean(np.asarray(areas, dtype=np.float64))) if len(areas) > 1 else classes.ONE_CLASS,
        }

    def metric_names(self, width: int = 1) -> tuple[str, ...]:
        top = f"top_{classes.TOP_K}_accuracy"
        return ("log_loss", "brier", "accuracy", top, "macro_f1", *reliability.METRICS, "macro_auc")

    def statistic(self, name: str, x: Floats, y: NDArray, cluster: Ints, clusters: int) -> Statistic:
        predicted = x.argmax(axis=1)
        if name == "macro_f1":
            return f1_statistic(predicted, y, x.shape[1], cluster, clusters)
        if name == "accuracy":
            return mean_statistic((predicted == y).astype(np.float64), cluster, clusters)
        values = metrics.multiclass_brier(x, y) if name == "brier" else metrics.multiclass_loss(x, y)
        return mean_statistic(values, cluster, clusters)

    def calibrator(self, outputs: NDArray) -> type[Calibrator]:
        return MulticlassCalibrator

    def outputs_of(self, predictions: Floats) -> Floats:
        return np.log(np.maximum(np.asarray(predictions, dtype=np.float64), EPSILON))

    def likelihood(self, predictions: Floats, labels: NDArray) -> Floats | None:
        return np.asarray(predictions[np.arange(len(labels)), labels.astype(np.int64)])

    def constant(self, labels: NDArray, width: int) -> NDArray[np.float64]:
        counts = smoothed_counts(labels, width)
        return counts / counts.sum()

    def base_values(self, labels: NDArray, width: int) -> Floats:
        values = np.zeros((len(labels), width))
        values[np.arange(len(labels)), labels.astype(np.int64)] = 1.0
        return values

    def errors(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """Log loss."""
        return metrics.multiclass_loss(predictions, labels)

    def expected_errors(self, predictions: Floats) -> Floats:
        """The entropy."""
        return entropy(predictions)

    def level(self, predictions: Floats) -> Floats:
        """The entropy: of equal entropy, equally sure."""
        return entropy(predictions)

    def region(self, predictions: Floats, labels: NDArray, u: Floats | None, level: float) -> Region | None:
        return Sets.fit(predictions, labels, level)

    def boosting(self, budget: BoostingBudget, labels: NDArray, constant: Floats, width: int) -> BoostingPlan:
        objective = {"objective": "multiclass", "metric": "multi_logloss", "num_class": width}
        return BoostingPlan(budget.multiclass, objective, trees_a_round=width)

    def curve(self, predictions: NDArray, labels: NDArray) -> tuple[Floats, Floats]:
        """The probability of the most likely class against whether it is the label."""
        return predictions.max(axis=1), (predictions.argmax(axis=1) == labels).astype(np.float64)

    def chosen(self, task: TaskConfig, predictions: Floats, names: Sequence[str]) -> Ints | None:
        some = np.array([name != task.none_class for name in names])
        return np.asarray(np.where(some, predictions, -1.0).argmax(axis=1))

    def in_range(self, predictions: Floats) -> Floats:
        return shares(predictions)

    def score_columns(
        self, task: TaskConfig, predictions: Floats, names: Sequence[str], base: Sequence[float]
    ) -> list[pl.Series]:
        """The likeliest class, the probabilities of all, and its own; where a class says that nothing happens, the
        likeliest of the others and its probability over its base rate."""
        named, likeliest = pl.Series(names, dtype=pl.String), predictions.argmax(axis=1)
        columns = [
            named.gather(likeliest).alias(task.name),
            list_column(f"{task.name}__p", pl.Series(predictions.ravel()), predictions.shape),
            pl.Series(f"{task.name}__probability", predictions.max(axis=1, initial=0.0), dtype=pl.Float64),
        ]
        if task.none_class is not None:
            rates = np.asarray(base, dtype=np.float64)
            some = np.array([name != task.none_class for name in names])
            seen = some & (rates > 0) if (some & (rates > 0)).any() else some  # no lift over a rate of 0
            following = np.where(seen, predictions, -1.0).argmax(axis=1)
            rate = np.maximum(rates[following], EPSILON)
            lift = np.take_along_axis(predictions, following[:, None], axis=1)[:, 0] / rate
            columns += [named.gather(following).alias(f"{task.name}__next"), pl.Series(f"{task.name}__lift", lift)]
        return columns

    def own_columns(self, task: Mapping[str, Any]) -> dict[str, str]:
        own = {
            "p": f"calibrated probability of each class{in_order(task)}; sums to 1",
            "probability": "calibrated probability of the most likely class",
        }
        if task.get("none_class"):
            own["next"] = f"most likely class other than {task['none_class']!r}"
            own["lift"] = "probability of that class over its base rate among the training rows"
        return own

    def region_columns(
        self, task: str, predictions: Floats, region: NDArray | None, names: Sequence[str]
    ) -> list[pl.Series]:
        """Names of the classes inside, likeliest first; null without a region."""
        if region is None:
            return [pl.Series(f"{task}__set", [None] * len(predictions), dtype=pl.List(pl.String))]
        order = np.argsort(-predictions, axis=1, kind="stable")
        inside = np.take_along_axis(region, order, axis=1)
        flat = pl.Series(names, dtype=pl.String).gather(order[inside])
        rows = pl.Series(np.nonzero(inside)[0])
        joined = pl.DataFrame({"row": rows, "name": flat}).group_by("row", maintain_order=True).agg("name")
        return [joined["name"].alias(f"{task}__set").cast(pl.List(pl.String))]

    def region_meanings(self) -> dict[str, str]:
        return {"set": "classes that hold the right one in {level} of cases, likeliest first"}


def entropy(probabilities: Floats) -> NDArray[np.float64]:
    """[n] entropy of [n, K] in nats."""
    return np.asarray(-(probabilities * np.log(np.where(probabilities > 0, probabilities, 1.0))).sum(axis=1))


def shares(predictions: Floats) -> Floats:
    """Rows [R, K] that sum to 1 to the last digit."""
    positive = np.maximum(predictions, 0.0)
    return positive / positive.sum(axis=1, keepdims=True)
