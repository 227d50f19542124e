"""Uplift tasks: the effect of a treatment on an outcome, learnt as a regression on the transformed outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl
from numpy.typing import NDArray

from ple_model.evaluation import uplift
from ple_model.evaluation.conformal import Region
from ple_model.evaluation.kind import Floats, Headline, Ints, Statistic
from ple_model.tasks.regression import Regression

_METRICS = ("auuc", "qini", "top_uplift", "average_effect")


class Uplift(Regression):
    """A regression whose labels are transformed outcomes and whose metrics ask for the order of predictions.

    Squared error only: its minimiser is the conditional mean of the transformed outcome, which is the uplift; that of
    Huber's loss is not. A task of several outputs is judged by their sum, and `auuc_<i>`, `qini_<i>` judge output i.
    Source: Athey and Imbens (2016); see `ple_model.evaluation.uplift`.
    """

    name: ClassVar[str] = "uplift"
    losses: ClassVar[tuple[str, ...]] = ("mse",)
    headline: ClassVar[Headline] = Headline(
        "auuc", "AUUC", 1, 0.05, "a share: it is in the outcome's unit", relative=True
    )
    resampled: ClassVar[tuple[str, ...]] = ("auuc", "qini")
    has_intervals: ClassVar[bool] = False
    meaning_of_value: ClassVar[str] = "calibrated uplift"
    summed_up_as: ClassVar[str] = "Mean prediction"
    judged_by_scores: ClassVar[bool] = False

    def with_classes(self, count: int) -> dict[str, int]:
        return {"out": count}

    def errors(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """None: a row shows its outcome under one treatment only, so nobody sees by how much its uplift was missed."""
        return None

    def region(self, predictions: Floats, labels: NDArray, u: Floats | None, level: float) -> Region | None:
        """None: an interval of transformed outcomes says nothing of the effect."""
        return None

    def region_columns(
        self, task: str, predictions: Floats, region: NDArray | None, names: Sequence[str]
    ) -> list[pl.Series]:
        return []

    def region_meanings(self) -> dict[str, str]:
        return {}

    def measure(self, predictions: Floats, labels: NDArray) -> dict[str, float | str]:
        x, z = _total(predictions), _total(labels)
        values: dict[str, float | str] = {
            "auuc": uplift.auuc(x, z),
            "qini": uplift.qini(x, z),
            "top_uplift": uplift.top_uplift(x, z),
            "average_effect": float(z.mean()),
        }
        if predictions.ndim == 2:
            for i in range(predictions.shape[1]):
                values[f"auuc_{i}"] = uplift.auuc(predictions[:, i], labels[:, i])
                values[f"qini_{i}"] = uplift.qini(predictions[:, i], labels[:, i])
        return values

    def metric_names(self, width: int = 1) -> tuple[str, ...]:
        by_output = [f"{metric}_{i}" for i in range(width) for metric in self.resampled] if width > 1 else []
        return (*_METRICS, *by_output)

    def metric_title(self, metric: str, names: Sequence[str]) -> str:
        measure, _, place = metric.rpartition("_")
        return f"{measure} {names[int(place)]}" if measure in self.resampled and names else metric

    def statistic(self, name: str, x: Floats, y: NDArray, cluster: Ints, clusters: int) -> Statistic:
        return uplift.area_statistic(_total(x), _total(y), cluster, line=0.5 if name == "qini" else 0.0)


def _total(values: NDArray) -> NDArray:
    """[n] or [n, O] → [n], the sum over outputs."""
    return values if values.ndim == 1 else values.sum(axis=1)
