"""Which columns trees gain most from: a choice that network and trees share.

Every task grows few trees on training rows, without early stopping; the columns whose splits save it most loss are the
ones that it wants, and a column that any task wants is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask, fit_all
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.closed import ClosedModel

_TREES = TreeBudget(rounds=60, learning_rate=0.1, max_rows=20_000)


class ColumnBudget(ClosedModel):
    """How columns are chosen.

    `per_task`: columns that each task may want. `trees`: what they are judged by; brands are not asked.
    """

    per_task: int = Field(default=40, ge=1)
    trees: BoostingBudget = BoostingBudget(
        single=_TREES, multiclass=_TREES.model_copy(update={"rounds": 12, "leaves": 15}), brands=0
    )


def column_gains(
    matrix: BinnedMatrix, tasks: Mapping[str, BoostingTask], budget: ColumnBudget, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Task → share [c] of the loss saved that each column's splits save; zeros for a task without trees.

    Raises:
        ValueError: the matrix has validation rows: they have no say in a choice.
    """
    if len(matrix.validation_rows):
        raise ValueError("columns are chosen on training rows only")
    fitted = fit_all(matrix, tasks, budget.trees, seed)
    return {name: _shares(boosted.gains()) for name, boosted in fitted.items()}


def ranks(gains: NDArray[np.float64]) -> NDArray[np.int64]:
    """[c] place of each column by its gain, 1 the largest; equal gains in the order of the columns."""
    places = np.empty(len(gains), dtype=np.int64)
    places[np.argsort(-gains, kind="stable")] = np.arange(1, len(gains) + 1)
    return places


def wanted(gains: Mapping[str, NDArray[np.float64]], per_task: int) -> dict[str, NDArray[np.bool_]]:
    """Task → which columns [c] it wants: the `per_task` of most gain, and none without any."""
    return {task: (ranks(found) <= per_task) & (found > 0) for task, found in gains.items()}


def _shares(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    total = gains.sum()
    return gains / total if total > 0 else gains
