"""The questions that boosting asks of a kind of task; `ple_model.tasks` answers them, one class a kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.evaluation.kind import EvaluatedKind, Floats


@dataclass(frozen=True)
class BoostingPlan:
    """Boosting of one task.

    `objective`: parameters of LightGBM. `trees_a_round`: 1, or a tree for each class. `models`: what has a model each,
    in words; empty where one model predicts the task. `columns`: prediction column → labels [n] of its model. `kept`:
    the prediction of a column without one, in words.
    """

    budget: TreeBudget
    objective: Mapping[str, Any]
    trees_a_round: int = 1
    columns: Mapping[int, NDArray] = field(default_factory=dict)
    models: str = ""
    kept: str = ""


class BoostedKind(EvaluatedKind):
    """A kind of task that trees can be grown for."""

    @abstractmethod
    def boosting(self, budget: BoostingBudget, labels: NDArray, constant: Floats, width: int) -> BoostingPlan:
        """LightGBM's plan for the task; `labels` over all rows of the matrix, `constant` as `constant` gives it."""

    def boosted_models(self, budget: BoostingBudget, width: int) -> int:
        """Models that `boosting` asks for, so that the longest fit starts first."""
        return 1
