"""The questions that evaluation asks of a kind of task; `ple_model.tasks` answers them, one class a kind.

Final form of predictions and labels (n rows, K classes, M brands, O outputs):

| kind        | predictions                       | labels                                       |
|-------------|-----------------------------------|----------------------------------------------|
| binary      | [n] probability of 1              | [n] 0 or 1                                   |
| multiclass  | [n, K] probabilities              | [n] class index                              |
| regression  | [n] or [n, O] in the label's unit | [n] or [n, O] in the label's unit            |
| contrastive | [n, M] scores, higher is better   | [n, P] brand indices, padded with −1         |
| uplift      | as regression: uplift             | as regression: transformed outcomes          |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ple_model.evaluation.calibration import Calibrator
    from ple_model.evaluation.conformal import Region

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

#: Counts [R, customers] of R resamples → metric [R], NaN where undefined.
Statistic = Callable[[Floats], Floats]

#: A probability of exactly 0 that proves wrong would cost infinitely much; it costs −log(EPSILON) = 16.1 instead.
EPSILON = 1e-7


@dataclass(frozen=True)
class Headline:
    """The one metric by which a kind of task is judged.

    `better` is +1 where higher is better, else −1. `margin`: a difference so small that two models are level, if the
    interval agrees; in the metric's unit, or as a share of the other model's value where `relative`. `reason` for it.
    """

    metric: str
    title: str
    better: Literal[1, -1]
    margin: float
    reason: str
    relative: bool = False

    def margin_at(self, value: float) -> float:
        """The margin in the metric's unit, beside another model's value."""
        return self.margin * abs(value) if self.relative else self.margin


class EvaluatedKind(ABC):
    """The numpy half of a kind of task. Instances hold no state.

    Attributes:
        name: of the kind, as it stands in configurations and files.
        headline: the metric that decides comparisons.
        resampled: metrics that can be resampled by customer. Left out are those whose bins or ranks move between
            resamples (calibration errors, macro AUC, Spearman).
        label_dtype: numpy type of labels in metrics.
        has_intervals: whether intervals around its predictions have metrics.
        blended: whether a convex mixture of two predictions is one.
    """

    name: ClassVar[str]
    headline: ClassVar[Headline]
    resampled: ClassVar[tuple[str, ...]]
    label_dtype: ClassVar[type[np.generic]] = np.int64
    has_intervals: ClassVar[bool] = False
    blended: ClassVar[bool] = True

    @abstractmethod
    def fits(self, predictions: NDArray, labels: NDArray) -> bool:
        """Whether the shapes of predictions and labels are those of the table above (row counts aside)."""

    @abstractmethod
    def bad_labels(self, labels: NDArray, width: int) -> Bools:
        """[n] rows whose label is none. `width`: last axis of the predictions, 1 where they have one axis."""

    @abstractmethod
    def measure(self, predictions: Floats, labels: NDArray) -> dict[str, float | str]:
        """All metrics by name; a text gives the reason why one is undefined."""

    @abstractmethod
    def metric_names(self, width: int = 1) -> tuple[str, ...]:
        """Names of the metrics in the order of reports, for predictions of that width."""

    @abstractmethod
    def statistic(self, name: str, x: Floats, y: NDArray, cluster: Ints, clusters: int) -> Statistic:
        """A metric of `resampled` by how often each customer is drawn; `cluster` [n]: customer of each row."""

    @abstractmethod
    def calibrator(self, outputs: NDArray) -> type[Calibrator]:
        """The class of calibrators for raw outputs of that shape."""

    def outputs_of(self, predictions: Floats) -> Floats:
        """The raw outputs (table of `calibration`) that these predictions are without a calibrator."""
        return predictions

    def likelihood(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """[n] probability that each prediction gave its label; None for kinds judged by squared error."""
        return None

    @abstractmethod
    def constant(self, labels: NDArray, width: int) -> NDArray[np.float64]:
        """The best prediction without features for one row, from training labels: shape () or [width]."""

    @abstractmethod
    def base_values(self, labels: NDArray, width: int) -> Floats:
        """[n, w] values whose means are base rates; w is 1 where a prediction is a number."""

    # --- uncertainty ------------------------------------------------------------------------------------------
    def errors(self, predictions: Floats, labels: NDArray) -> Floats | None:
        """[n] how far each prediction missed, 0 or more; None for kinds whose misses cannot be seen in a row."""
        return None

    def expected_errors(self, predictions: Floats) -> Floats:
        """[n] the error that a calibrated prediction leads to expect; 0 where it leads to expect none in particular."""
        return np.zeros(len(predictions))

    def level(self, predictions: Floats) -> Floats:
        """[n] one number a prediction: equal predictions have equal levels."""
        return np.asarray(predictions, dtype=np.float64).reshape(len(predictions), -1).sum(axis=1)

    def region(self, predictions: Floats, labels: NDArray, u: Floats | None, level: float) -> Region | None:
        """What holds a row's label with probability `level`, from validation rows and their u where the task publishes
        one; None for kinds without such a thing, or with too few rows."""
        return None

    def curve(self, predictions: NDArray, labels: NDArray) -> tuple[Floats, Floats] | None:
        """(predicted probability [n], whether it happened [n]) for a reliability plot; None for kinds without one."""
        return None

    def own_past(self, counts: Ints | Floats, constant: Floats) -> Floats | None:
        """The baseline from the customer's own past counts [n, width], for kinds that have one."""
        return None
