"""Rows with a planted signal, and one task of each kind that follows it."""

from __future__ import annotations

import numpy as np

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.tasks import KINDS

ROWS, TRAIN, VALID = 3_000, np.arange(1_800), np.arange(1_800, 2_400)
TEST = slice(2_400, ROWS)
SMALL = TreeBudget(rounds=30, early_stopping=5, learning_rate=0.1, leaves=7, column_share=0.8)
BUDGET = BoostingBudget(single=SMALL, multiclass=SMALL, brand=SMALL, brands=4)


def world() -> tuple[np.ndarray, dict[str, BoostingTask]]:
    """12 columns, of which the first four matter; a tenth of the labels is masked."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 12)).astype(np.float32)
    signal = 2 * x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * rng.normal(size=ROWS)
    x[rng.random(x.shape) < 0.05] = np.nan
    brands = np.stack([np.where(signal > 0, 0, 1), np.where(x[:, 3] > 0, 2, -1), rng.integers(4, 12, ROWS)], axis=1)
    brands[rng.random(ROWS) < 0.7, 2] = -1
    seen = rng.random(ROWS) < 0.9
    return x, {
        "binary": BoostingTask(KINDS["binary"], (signal > 1).astype(np.float64), seen, 1),
        "regression": BoostingTask(KINDS["regression"], signal, seen, 1),
        "multiclass": BoostingTask(KINDS["multiclass"], np.digitize(signal, [-1, 0, 1]), seen, 4),
        "brands": BoostingTask(KINDS["contrastive"], brands, seen, 12),
    }


def binned(x: np.ndarray, train: np.ndarray = TRAIN, validation: np.ndarray | None = VALID) -> BinnedMatrix:
    """The rows in bins."""
    return BinnedMatrix(x, train, validation)
