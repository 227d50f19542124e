"""Growing trees for a task, or for all of them side by side.

- The budget is a number of trees and rows, never a time: the same data and seed give the same trees on a busy machine.
- Tasks run side by side, one thread each: inside one task, threads would wait for each other at every histogram.
- binary: log loss; multiclass: softmax, one tree a class and round, so `max_trees` bounds the rounds; regression and
  uplift: L2, a model for each output.
- contrastive (brands): one binary model for each of the most frequent brands; every other brand is scored by its
  popularity. Both are probabilities that the row contains the brand, so the scores compare.

A task that cannot be boosted (too few rows, one class only) is predicted by its constant, and `Boosted.note` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ple_model.boosting.boosted import Boosted
from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.kind import BoostedKind, BoostingPlan
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.evaluation.constant import constant_prediction

MIN_ROWS = 100  # fewer training or validation rows: the constant


@dataclass(frozen=True)
class BoostingTask:
    """The part of a task that trees are grown for: labels [n] or [n, ·] and mask [n] (True = labelled) over all rows of
    the matrix; `width`: classes, brands or outputs."""

    kind: BoostedKind
    labels: NDArray
    mask: NDArray
    width: int


def fit_all(
    matrix: BinnedMatrix,
    tasks: Mapping[str, BoostingTask],
    budget: BoostingBudget,
    seed: int = 0,
    on_fitted: Callable[[str, Boosted], None] | None = None,
    rounds: Mapping[str, Boosted] | None = None,
) -> dict[str, Boosted]:
    """Fit all tasks, `BoostingBudget.workers` at a time. The result does not depend on the number of workers.

    Args:
        matrix: the rows.
        tasks: by name.
        budget: of all of them.
        seed: of rows and columns that are drawn.
        on_fitted: called with name and result in the calling thread, in the order in which tasks end.
        rounds: task → an earlier fit whose models and rounds are taken over, for a fit on more rows.
    """

    def fit(name: str) -> Boosted:
        return fit_task(matrix, tasks[name], budget, seed, budget.tasks.get(name), (rounds or {}).get(name))

    # The longest first, so that no worker is left alone with one at the end.
    models = {name: task.kind.boosted_models(budget, task.width) for name, task in tasks.items()}
    order = sorted(tasks, key=lambda name: (-models[name], -tasks[name].width))
    fitted: dict[str, Boosted] = {}
    with ThreadPoolExecutor(budget.workers) as pool:
        running = {pool.submit(fit, name): name for name in order}
        for done in as_completed(running):
            fitted[running[done]] = done.result()
            if on_fitted is not None:
                on_fitted(running[done], fitted[running[done]])
    return {name: fitted[name] for name in tasks}


def fit_task(
    matrix: BinnedMatrix,
    task: BoostingTask,
    budget: BoostingBudget,
    seed: int = 0,
    own: TreeBudget | None = None,
    like: Boosted | None = None,
) -> Boosted:
    """Fit one task. Early stopping reads the validation rows; nothing else does.

    Args:
        matrix: the rows. One without validation rows is fitted for all rounds of the budget.
        task: labels and mask over all of them.
        budget: by kind of task.
        seed: of rows and columns that are drawn.
        own: budget of this task in place of its kind's.
        like: an earlier fit: the same models are fitted with its numbers of rounds, and none stops early.

    Raises:
        ValueError: no training row has a label, or labels of another number of rows.
    """
    kind, mask, labels, width = task.kind, np.asarray(task.mask, dtype=bool), np.asarray(task.labels), task.width
    if len(labels) != matrix.rows or mask.shape != (matrix.rows,):
        raise ValueError(f"{kind.name}: {len(labels)} labels and mask {mask.shape} for a matrix of {matrix.rows} rows")
    best = constant_prediction(kind, labels[matrix.train_rows], mask[matrix.train_rows], width)
    plan = kind.boosting(budget, labels, best, width)
    if own is not None:
        plan = replace(plan, budget=own)
    constant = tuple(best.tolist()) if best.ndim else float(best)
    rows = matrix.take(mask, plan.budget.max_rows, seed)
    if like is not None:
        rows = rows[0], rows[1][:0]
    stops = len(matrix.validation_rows) > 0 and like is None

    def unfit(y: NDArray) -> str:
        """Why these labels cannot be boosted; empty where they can."""
        train, validation = y[matrix.train_rows[rows[0]]], len(rows[1])
        if min(len(train), validation if stops else MIN_ROWS) < MIN_ROWS:
            return f"constant: {len(train)} training and {validation} validation rows, {MIN_ROWS} are needed of each"
        if len(np.unique(train)) < 2:
            return f"constant: the training labels of this {kind.name} task have one value only"
        return ""

    if like is not None and not like.models:
        return Boosted(kind.name, constant, (), (), (), matrix.columns, len(rows[0]), 0, like.note)
    if plan.models:
        wanted = {column: y for column, y in plan.columns.items() if like is None or column in like.columns}
        fit = {column: y for column, y in wanted.items() if not unfit(y)}
        note = f"one model for each of {len(fit)} {plan.models}, {plan.kept} for the other {width - len(fit)}"
    elif note := unfit(labels):
        return Boosted(kind.name, constant, (), (), (), matrix.columns, len(rows[0]), 0, note)
    else:
        fit = {}
    given = None
    if like is not None:
        known = dict(zip(like.columns or (0,), like.rounds, strict=True))
        given = [known[column] for column in (fit if plan.models else (0,))]
    models, rounds = _grow(matrix, rows, list(fit.values()) if plan.models else [labels], plan, seed, given)
    return Boosted(
        kind.name,
        constant,
        tuple(models),
        tuple(fit),
        tuple(rounds),
        matrix.columns,
        len(rows[0]),
        sum(rounds) * plan.trees_a_round,
        note,
    )


def parameters(matrix: BinnedMatrix, plan: BoostingPlan, seed: int) -> dict[str, object]:
    """LightGBM's parameters of a plan."""
    budget = plan.budget
    return {
        **matrix.params,
        **plan.objective,
        "learning_rate": budget.learning_rate,
        "num_leaves": budget.leaves,
        "min_data_in_leaf": budget.min_leaf_rows,
        "feature_fraction": budget.column_share,
        "bagging_fraction": budget.row_share,
        "bagging_freq": 1 if budget.row_share < 1 else 0,
        "lambda_l2": budget.l2,
        "seed": seed,
    }


def _grow(
    matrix: BinnedMatrix,
    rows: tuple[NDArray, NDArray],
    labels: Sequence[NDArray],
    plan: BoostingPlan,
    seed: int,
    given: Sequence[int] | None,
) -> tuple[list[str], list[int]]:
    """Text and rounds of one model for each of `labels` (each [n] over all rows of the matrix), all on the same rows;
    `given`: rounds of each, where they are not found by early stopping."""
    import lightgbm

    params = parameters(matrix, plan, seed)
    most = plan.budget.rounds_for(plan.trees_a_round)
    train = matrix.training(rows[0])
    validation = matrix.validation(rows[1]) if given is None else None
    texts, rounds = [], []
    for i, label in enumerate(labels):
        train.set_label(label[matrix.train_rows[rows[0]]])
        if validation is None:
            booster = lightgbm.train(params, train, most if given is None else given[i])
            found = booster.current_iteration()
        else:
            validation.set_label(label[matrix.validation_rows[rows[1]]])
            stop = lightgbm.early_stopping(plan.budget.early_stopping, verbose=False)
            booster = lightgbm.train(params, train, most, valid_sets=[validation], callbacks=[stop])
            found = booster.best_iteration
        texts.append(booster.model_to_string(num_iteration=found))
        rounds.append(found)
    return texts, rounds
