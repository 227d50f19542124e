"""Contrastive tasks: which of many candidates (brands) come next, by the cosine of a query with a learnt table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ple_model.boosting.kind import BoostingPlan
from ple_model.evaluation.bootstrap import mean_statistic
from ple_model.evaluation.calibration import Calibrator, ContrastiveCalibrator
from ple_model.evaluation.constant import own_past_brands, smoothed_counts
from ple_model.evaluation.kind import EPSILON, Bools, Floats, Headline, Ints, Statistic
from ple_model.evaluation.ranking import RANKING, ranking_parts
from ple_model.tasks.kind import Kind, Units, list_column
from ple_model.tasks.multiclass import entropy, shares

if TYPE_CHECKING:
    from torch import Tensor

    from ple_model.boosting.budget import BoostingBudget
    from ple_model.tasks.config import TaskConfig

TOP_BRANDS = 10


class Contrastive(Kind):
    """A query against a table of candidates, InfoNCE, judged by recall@10. Source: MODEL §2, §9."""

    name: ClassVar[str] = "contrastive"
    losses: ClassVar[tuple[str, ...]] = ("infonce",)
    plain_loss: ClassVar[str] = "infonce"
    headline: ClassVar[Headline] = Headline(
        "recall_at_10", "recall@10", 1, 0.01, "one brand in a hundred is found or lost"
    )
    resampled: ClassVar[tuple[str, ...]] = RANKING
    retrieves: ClassVar[bool] = True
    blended: ClassVar[bool] = False  # scores of a few brands' trees and of a whole table do not compare
    meaning_of_value: ClassVar[str] = "most likely brand"
    summed_up_as: ClassVar[str] = "Commonest answer"
    judged_by_scores: ClassVar[bool] = False
    explained_in: ClassVar[str] = "log share of the brand"

    def with_classes(self, count: int) -> dict[str, int]:
        return {"candidates": count}

    def width(self, task: TaskConfig) -> int:
        return task.candidates or 0

    def targets(self, task: TaskConfig, column: pl.Series) -> tuple[NDArray, NDArray[np.bool_]]:
        """Lists of brand indices padded with −1, [R, M], M the longest list; an empty list is a masked label too."""
        lengths = column.list.len().fill_null(0).to_numpy().astype(np.int64)
        flat = column.filter(column.list.len() > 0).explode().cast(pl.Int64).to_numpy()
        padded = np.full((len(lengths), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int64)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.cumsum(lengths) - lengths
        padded[rows, np.arange(len(flat)) - np.repeat(starts, lengths)] = flat
        return padded, padded[:, 0] >= 0

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
        safe = label.where(mask.unsqueeze(-1), -1)
        negatives = task.negatives or 0 if training else 0
        return units.table(task.name).loss(raw, safe, negatives, beside), mask & (safe >= 0).any(1)

    def constant_loss(self, task: TaskConfig, labels: Tensor, units: Units) -> float:
        from ple_model.tasks.row_losses import popularity_loss

        return popularity_loss(labels, self.width(task))

    def fit_units(self, task: TaskConfig, labels: Tensor, units: Units) -> None:
        units.table(task.name).set_frequency(labels[labels >= 0].bincount(minlength=self.width(task)))

    def to_units(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        """Scores [B, candidates] over the table."""
        return units.table(task.name).scores(raw, beside)

    def average(self, raw: Tensor) -> Tensor:
        """The mean direction of the queries: it ranks candidates as the mean of the members' cosines does."""
        from torch.nn import functional as F

        return F.normalize(raw.float(), dim=-1).mean(0)

    def spread(self, raw: Tensor) -> Tensor:
        """1 less the length of the mean of the queries' directions."""
        return 1.0 - self.average(raw).norm(dim=-1)

    def evidence_classes(self, task: TaskConfig, buckets: int) -> int | None:
        return min(task.candidates or 2, buckets)

    def evidence_labels(
        self,
        task: TaskConfig,
        label: Tensor,
        mask: Tensor,
        classes: int | None,
        standardise: Callable[[str, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Candidate m is counted in bucket m mod classes."""
        buckets = label.long() % (classes or 1)
        return buckets.where(label >= 0, -1), mask & (label >= 0).any(-1)

    def fits(self, predictions: NDArray, labels: NDArray) -> bool:
        return predictions.ndim == labels.ndim == 2

    def bad_labels(self, labels: NDArray, width: int) -> Bools:
        outside = (labels < -1) | (labels >= width)
        return np.asarray(outside.any(axis=1) | (labels < 0).all(axis=1))

    def measure(self, predictions: Floats, labels: NDArray) -> dict[str, float | str]:
        return {name: part.mean() for name, part in ranking_parts(predictions, labels).items()}

    def metric_names(self, width: int = 1) -> tuple[str, ...]:
        return RANKING

    def statistic(self, name: str, x: Floats, y: NDArray, cluster: Ints, clusters: int) -> Statistic:
        return mean_statistic(ranking_parts(x, y)[name], cluster, clusters)

    def calibrator(self, outputs: NDArray) -> type[Calibrator]:
        return ContrastiveCalibrator

    def outputs_of(self, predictions: Floats) -> Floats:
        return np.log(np.maximum(np.asarray(predictions, dtype=np.float64), EPSILON))

    def constant(self, labels: NDArray, width: int) -> NDArray[np.float64]:
        """Popularity: the probability that a row contains the brand. Unlike class shares it does not sum to 1."""
        return smoothed_counts(labels, width) / (len(labels) + 1.0)

    def base_values(self, labels: NDArray, width: int) -> Floats:
        values = np.zeros((len(labels), width))
        row, column = np.nonzero(labels >= 0)
        values[row, labels[row, column]] = 1.0
        return values / np.maximum(values.sum(axis=1, keepdims=True), 1.0)

    def errors(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """1 − recall@10."""
        return 1.0 - ranking_parts(predictions, labels)["recall_at_10"]

    def level(self, predictions: Floats) -> Floats:
        """The entropy of the shares: of equal entropy, equally sure."""
        return entropy(predictions)

    def boosting(self, budget: BoostingBudget, labels: NDArray, constant: Floats, width: int) -> BoostingPlan:
        """A binary model for each of the most frequent brands."""
        brands = np.argsort(-constant, kind="stable")[: budget.brands]
        return BoostingPlan(
            budget.brand,
            {"objective": "binary", "metric": "binary_logloss"},
            columns={int(brand): (labels == brand).any(axis=1).astype(np.float64) for brand in brands},
            models="brands",
            kept="popularity",
        )

    def boosted_models(self, budget: BoostingBudget, width: int) -> int:
        return min(budget.brands, width)

    def own_past(self, counts: Ints | Floats, constant: Floats) -> Floats | None:
        return own_past_brands(counts, constant)

    def chosen(self, task: TaskConfig, predictions: Floats, names: Sequence[str]) -> Ints | None:
        return np.asarray(predictions.argmax(axis=1))

    def in_range(self, predictions: Floats) -> Floats:
        return shares(predictions)

    def score_columns(
        self, task: TaskConfig, predictions: Floats, names: Sequence[str], base: Sequence[float]
    ) -> list[pl.Series]:
        brands = pl.Series(names, dtype=pl.String)
        top = np.argsort(-predictions, axis=1, kind="stable")[:, :TOP_BRANDS]
        return [
            brands.gather(top[:, 0]).alias(task.name),
            list_column(f"{task.name}__top", brands.gather(top.ravel()), top.shape),
        ]

    def own_columns(self, task: Mapping[str, Any]) -> dict[str, str]:
        return {"top": "brands, most likely first"}
