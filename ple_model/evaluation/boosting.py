"""LightGBM for each task on the model's own matrix: the baseline that a deep model on tabular data has to beat.

- The matrix is binned once, on training rows only; a task takes its unmasked rows of the binned data.
- The budget is a number of trees and rows, never a time: the same data and seed give the same trees on a busy machine.
- Tasks run side by side, one thread each: inside one task, threads would wait for each other at every histogram.
- binary: log loss; multiclass: softmax, one tree a class and round, so `max_trees` bounds the rounds; regression and
  uplift: L2, a model for each output.
- contrastive (brands): one binary model for each of the most frequent brands; every other brand is scored by its
  popularity. Both are probabilities that the row contains the brand, so the scores compare.

A task that cannot be boosted (too few rows, one class only) is predicted by its constant, and `Boosted.note` says so.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ple_model.closed import ClosedModel
from ple_model.evaluation.constant import constant_prediction, repeat
from ple_model.evaluation.kind import BoostingPlan, EvaluatedKind

if TYPE_CHECKING:
    import lightgbm

MIN_ROWS = 100  # fewer training or validation rows: the constant


class TreeBudget(ClosedModel):
    """The budget of one boosted model."""

    rounds: int = Field(200, ge=1)
    max_trees: int = Field(2_000, ge=1, description="rounds × trees a round stay below this")
    early_stopping: int = Field(20, ge=1, description="rounds without a better validation loss that end the fit")
    learning_rate: float = Field(0.1, gt=0, le=1)
    leaves: int = Field(31, ge=2)
    min_leaf_rows: int = Field(20, ge=1)
    column_share: float = Field(0.3, gt=0, le=1, description="columns drawn for each tree")
    l2: float = Field(1.0, ge=0)
    max_rows: int = Field(50_000, ge=1, description="training rows; more are sampled down")

    def rounds_for(self, trees_a_round: int) -> int:
        return max(1, min(self.rounds, self.max_trees // trees_a_round))


class BoostingBudget(ClosedModel):
    """The fixed budget of all boosted baselines of a night."""

    single: TreeBudget = Field(TreeBudget(), description="binary and regression tasks")
    multiclass: TreeBudget = Field(
        TreeBudget(rounds=60, max_trees=700, early_stopping=8, leaves=15, max_rows=24_000),
        description="one tree a class and round: 28 classes get 25 rounds",
    )
    brand: TreeBudget = Field(
        TreeBudget(rounds=40, early_stopping=8, leaves=15, max_rows=20_000), description="each of the brands"
    )
    brands: int = Field(20, ge=0, description="most frequent brands that get a model of their own")
    max_bin: int = Field(63, ge=2, le=255)
    workers: int = Field(2, ge=1, description="tasks fitted side by side, each in one thread")


class BinnedMatrix:
    """Training and validation rows, binned once for all tasks.

    `features` [n, c] float32, NaN where missing; `train_rows`, `validation_rows`: boolean [n] or indices. Bin edges
    come from training rows only.
    """

    def __init__(
        self, features: NDArray[np.float32], train_rows: NDArray, validation_rows: NDArray, budget: BoostingBudget
    ) -> None:
        import lightgbm

        self.budget = budget
        self.rows = len(features)
        self.train_rows, self.validation_rows = _indices(train_rows, self.rows), _indices(validation_rows, self.rows)
        if not len(self.train_rows) or not len(self.validation_rows):
            raise ValueError(f"{len(self.train_rows)} training and {len(self.validation_rows)} validation rows")
        self.params: dict[str, Any] = {
            "max_bin": budget.max_bin,
            "num_threads": 1,
            "feature_pre_filter": False,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        # Subsets refuse a parent without labels; every task sets its own.
        self._train = lightgbm.Dataset(
            features[self.train_rows], label=np.zeros(len(self.train_rows)), params=self.params
        ).construct()
        self._validation = lightgbm.Dataset(
            features[self.validation_rows],
            label=np.zeros(len(self.validation_rows)),
            reference=self._train,
            params=self.params,
        ).construct()

    def take(self, kept: NDArray, max_rows: int, seed: int) -> tuple[NDArray, NDArray]:
        """Positions, among training and among validation rows, of the rows where `kept` [n] is True.

        More than `max_rows` training rows are sampled down, without replacement.
        """
        train = np.flatnonzero(kept[self.train_rows])
        if len(train) > max_rows:
            train = np.sort(np.random.default_rng(seed).choice(train, max_rows, replace=False))
        return train, np.flatnonzero(kept[self.validation_rows])

    def datasets(self, train: NDArray, validation: NDArray) -> "tuple[lightgbm.Dataset, lightgbm.Dataset]":
        """Binned rows at the positions of `take`, without labels."""
        return (
            self._train.subset(train.tolist(), params=self.params).construct(),
            self._validation.subset(validation.tolist(), params=self.params).construct(),
        )


@dataclass(frozen=True)
class Boosted:
    """A fitted task: boosters (one, or one a brand), and the constant of one row.

    `columns[i]` is the brand or output that booster i predicts; without columns the one booster predicts the task.
    `trees` counts the trees kept after early stopping.
    """

    kind: str
    constant: NDArray[np.float64]
    boosters: tuple["lightgbm.Booster", ...]
    columns: tuple[int, ...]
    train_rows: int
    trees: int
    note: str = ""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """[n, c] → predictions in final form (table in `kind.py`)."""
        if len(self.boosters) > len(self.columns):
            return _predict(self.boosters[0], features)
        out = repeat(self.constant, len(features))
        for column, booster in zip(self.columns, self.boosters, strict=True):
            out[:, column] = _predict(booster, features)
        return out


@dataclass(frozen=True)
class BoostingTask:
    """The part of a task that `fit_boosting` reads: labels [n] or [n, ·] and mask [n] over all rows of the matrix;
    `width`: classes, brands or outputs."""

    kind: EvaluatedKind
    labels: NDArray
    mask: NDArray
    width: int


def fit_all(
    matrix: BinnedMatrix,
    tasks: Mapping[str, BoostingTask],
    seed: int = 0,
    on_fitted: Callable[[str, Boosted], None] | None = None,
) -> dict[str, Boosted]:
    """Fit all tasks, `BoostingBudget.workers` at a time. The result does not depend on the number of workers.

    `on_fitted(name, boosted)` is called in the calling thread, in the order in which tasks end.
    """

    def fit(task: BoostingTask) -> Boosted:
        return fit_boosting(matrix, task.kind, task.labels, task.mask, task.width, seed)

    # The longest first, so that no worker is left alone with one at the end.
    models = {name: task.kind.boosted_models(matrix.budget, task.width) for name, task in tasks.items()}
    order = sorted(tasks, key=lambda name: (-models[name], -tasks[name].width))
    fitted: dict[str, Boosted] = {}
    with ThreadPoolExecutor(matrix.budget.workers) as pool:
        running = {pool.submit(fit, tasks[name]): name for name in order}
        for done in as_completed(running):
            fitted[running[done]] = done.result()
            if on_fitted is not None:
                on_fitted(running[done], fitted[running[done]])
    return {name: fitted[name] for name in tasks}


def fit_boosting(
    matrix: BinnedMatrix, kind: EvaluatedKind, labels: NDArray, mask: NDArray, width: int, seed: int = 0
) -> Boosted:
    """Fit one task. Early stopping reads the validation rows; nothing else does.

    Args:
        matrix: training and validation rows.
        kind: of the task.
        labels: [n] or [n, ·] over *all* rows of the matrix.
        mask: [n] over all rows, True = labelled.
        width: number of classes, brands or outputs.
        seed: of rows and columns that are drawn.

    Raises:
        ValueError: no training row has a label.
    """
    mask = np.asarray(mask, dtype=bool)
    labels = np.asarray(labels)
    if len(labels) != matrix.rows or mask.shape != (matrix.rows,):
        raise ValueError(f"{kind.name}: {len(labels)} labels and mask {mask.shape} for a matrix of {matrix.rows} rows")
    constant = constant_prediction(kind, labels[matrix.train_rows], mask[matrix.train_rows], width)
    plan = kind.boosting(matrix.budget, labels, constant, width)
    rows = matrix.take(mask, plan.budget.max_rows, seed)

    def unfit(y: NDArray) -> str:
        """Why these labels cannot be boosted; empty where they can."""
        train, validation = y[matrix.train_rows[rows[0]]], len(rows[1])
        if min(len(train), validation) < MIN_ROWS:
            return f"constant: {len(train)} training and {validation} validation rows, {MIN_ROWS} are needed of each"
        if len(np.unique(train)) < 2:
            return f"constant: the training labels of this {kind.name} task have one value only"
        return ""

    if plan.models:
        fit = {column: y for column, y in plan.columns.items() if not unfit(y)}
        note = f"one model for each of {len(fit)} {plan.models}, {plan.kept} for the other {width - len(fit)}"
    elif note := unfit(labels):
        return Boosted(kind.name, constant, (), (), len(rows[0]), 0, note)
    boosters = _train(matrix, rows, list(fit.values()) if plan.models else [labels], plan, seed)
    trees = sum(booster.best_iteration for booster in boosters) * plan.trees_a_round
    columns = tuple(fit) if plan.models else ()
    return Boosted(kind.name, constant, tuple(boosters), columns, len(rows[0]), trees, note)


def _train(
    matrix: BinnedMatrix,
    rows: tuple[NDArray, NDArray],
    labels: Sequence[NDArray],
    plan: BoostingPlan,
    seed: int,
) -> "list[lightgbm.Booster]":
    """One booster for each of `labels` (each [n] over all rows of the matrix), all on the same rows."""
    import lightgbm

    budget = plan.budget
    params = {
        **matrix.params,
        **plan.objective,
        "learning_rate": budget.learning_rate,
        "num_leaves": budget.leaves,
        "min_data_in_leaf": budget.min_leaf_rows,
        "feature_fraction": budget.column_share,
        "lambda_l2": budget.l2,
        "seed": seed,
    }
    train, validation = matrix.datasets(*rows)
    boosters = []
    for label in labels:
        train.set_label(label[matrix.train_rows[rows[0]]])
        validation.set_label(label[matrix.validation_rows[rows[1]]])
        stop = lightgbm.early_stopping(budget.early_stopping, verbose=False)
        boosters.append(
            lightgbm.train(
                params, train, budget.rounds_for(plan.trees_a_round), valid_sets=[validation], callbacks=[stop]
            )
        )
    return boosters


def _predict(booster: "lightgbm.Booster", features: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(booster.predict(features, num_threads=1), dtype=np.float64)


def _indices(rows: NDArray, n: int) -> NDArray[np.int64]:
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape != (n,):
        raise ValueError(f"row mask {rows.shape} for {n} rows")
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
