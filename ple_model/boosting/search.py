"""A random search of the settings of boosted trees: trained on training rows, judged on validation rows, no others.

The first trials of every task are fixed: the settings whose results a search has to match (`FIRST`), each on all
columns and on the chosen ones. The settings of a later trial are drawn from its number and the task's name alone, so
that a search goes on where it was stopped, in any order.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask, fit_task
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.boosting.tuned import Columns, Trial, Tuned
from ple_model.evaluation.kind import EPSILON, EvaluatedKind, Floats

COLUMNS: tuple[Columns, ...] = ("all", "chosen")
LIMITS = {"rounds": 3_000, "max_trees": 6_000, "early_stopping": 50}
"""Of every drawn trial: far beyond what a night may grow."""
_FAST = TreeBudget(rounds=200, early_stopping=20, learning_rate=0.1, max_trees=2_000)
FIRST: tuple[BoostingBudget, ...] = (
    BoostingBudget(
        single=_FAST.model_copy(update={"max_rows": 50_000}),
        multiclass=_FAST.model_copy(
            update={"rounds": 60, "max_trees": 700, "early_stopping": 8, "leaves": 15, "max_rows": 24_000}
        ),
    ),
    BoostingBudget(
        single=_FAST,
        multiclass=_FAST.model_copy(update={"rounds": 60, "max_trees": 700, "early_stopping": 8, "leaves": 15}),
    ),
    BoostingBudget(single=TreeBudget(**LIMITS), multiclass=TreeBudget(**LIMITS, leaves=15)),
)
"""A small budget on sampled rows, the same on all rows, and a low rate on all rows."""
FIXED = len(FIRST) * len(COLUMNS)
CROSSED = 1_000
"""Added to the number of a trial: its settings on the other columns."""


@dataclass(frozen=True)
class Material:
    """The rows of a search: features [n, c], once binned on all columns and once on the chosen ones."""

    features: Mapping[Columns, NDArray[np.float32]]
    matrices: Mapping[Columns, BinnedMatrix]


def settings_of(task: str, number: int, trees_a_round: int, seed: int) -> tuple[TreeBudget, Columns]:
    """Settings and columns of a trial.

    Args:
        task: name of the task.
        number: of the trial; below `FIXED` it is one of the fixed settings, from `CROSSED` on those of another trial.
        trees_a_round: more than 1 for classes.
        seed: of the search.
    """
    if number >= CROSSED:
        budget, columns = settings_of(task, number - CROSSED, trees_a_round, seed)
        return budget, COLUMNS[1 - COLUMNS.index(columns)]
    if number < FIXED:
        first = FIRST[number // len(COLUMNS)]
        return (first.multiclass if trees_a_round > 1 else first.single), COLUMNS[number % len(COLUMNS)]
    key = hashlib.sha256(f"{seed}:{task}:{number}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key[:8]))
    budget = TreeBudget(
        **LIMITS,
        learning_rate=round(float(np.exp(rng.uniform(np.log(0.02), np.log(0.12)))), 4),
        leaves=int(rng.choice([5, 8, 15, 31, 63] if trees_a_round == 1 else [4, 7, 15, 31])),
        min_leaf_rows=int(rng.choice([10, 20, 50, 100, 200, 500])),
        column_share=float(rng.choice([0.1, 0.2, 0.3, 0.5, 0.8])),
        l2=float(rng.choice([0.0, 0.3, 1.0, 3.0, 10.0, 30.0])),
        row_share=float(rng.choice([0.4, 0.6, 0.8, 1.0])),
    )
    return budget, COLUMNS[int(rng.integers(len(COLUMNS)))]


def run_trial(material: Material, name: str, task: BoostingTask, number: int, seed: int) -> Trial:
    """One fit and its validation loss."""
    trees_a_round = task.kind.boosting(BoostingBudget(), task.labels, np.zeros(0), task.width).trees_a_round
    budget, columns = settings_of(name, number, trees_a_round, seed)
    matrix, started = material.matrices[columns], time.thread_time()
    fitted = fit_task(matrix, task, BoostingBudget(), seed, budget)
    seconds = time.thread_time() - started
    rows = matrix.validation_rows[task.mask[matrix.validation_rows]]
    loss = mean_loss(task.kind, fitted.predict(material.features[columns][rows]), task.labels[rows])
    rounds = max(fitted.rounds, default=0)
    return Trial(
        number=number,
        columns=columns,
        loss=loss,
        rounds=rounds,
        trees_a_round=trees_a_round,
        seconds=round(seconds, 1),
        budget=budget,
    )


def search(
    tuned: Tuned,
    material: Material,
    tasks: Mapping[str, BoostingTask],
    trials: int,
    minutes: float,
    workers: int,
    on_trial: Callable[[Tuned, str, Trial], None],
) -> Tuned:
    """Go on with a search until every task has so many trials, and its best settings were tried on the other columns,
    or the time is over; what has begun is finished.

    Args:
        tuned: what earlier runs of the same search found.
        material: the rows.
        tasks: by name; those without validation rows are left out by the caller.
        trials: of each task, the fixed ones included.
        minutes: after which no trial begins.
        workers: trials side by side, each in one thread.
        on_trial: called with everything so far, the task and the trial that just ended.
    """
    end = time.monotonic() + 60 * minutes
    for jobs in (_missing, _crossing):
        tuned = _run(tuned, jobs(tuned, tasks, trials), material, tasks, end, workers, on_trial)
    return tuned


def _run(
    tuned: Tuned,
    jobs: Iterator[tuple[str, int]],
    material: Material,
    tasks: Mapping[str, BoostingTask],
    end: float,
    workers: int,
    on_trial: Callable[[Tuned, str, Trial], None],
) -> Tuned:
    """`search` over jobs, (task, number) each."""
    running: dict[Future[Trial], str] = {}
    with ThreadPoolExecutor(workers) as pool:
        while True:
            while len(running) < workers and time.monotonic() < end and (job := next(jobs, None)) is not None:
                name, number = job
                running[pool.submit(run_trial, material, name, tasks[name], number, tuned.seed)] = name
            if not running:
                return tuned
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name, trial = running.pop(done), done.result()
                tuned = tuned.with_trial(name, trial)
                on_trial(tuned, name, trial)


def mean_loss(kind: EvaluatedKind, predictions: Floats, labels: NDArray) -> float:
    """Mean log loss, or for values mean squared error."""
    likelihood = kind.likelihood(predictions, labels)
    if likelihood is not None:
        return float(-np.log(np.maximum(likelihood, EPSILON)).mean())
    return float(((predictions - labels) ** 2).mean())


def _missing(tuned: Tuned, tasks: Mapping[str, BoostingTask], trials: int) -> Iterator[tuple[str, int]]:
    """(task, number) of the trials that are not there yet: the first of every task before the second of any."""
    known = {name: {trial.number for trial in tuned.tasks.get(name, ())} for name in tasks}
    for number in range(trials):
        for name in tasks:
            if number not in known[name]:
                yield name, number


def _crossing(tuned: Tuned, tasks: Mapping[str, BoostingTask], trials: int) -> Iterator[tuple[str, int]]:
    """(task, number) of the best settings of each task that has all its trials, on the columns that no trial read with
    them."""
    unfinished = {name for name, _ in _missing(tuned, tasks, trials)}
    for name in tasks:
        best = tuned.best(name)
        if best is None or name in unfinished:
            continue
        known = {trial.columns for trial in tuned.tasks[name] if trial.budget == best.budget}
        if len(known) < len(COLUMNS):
            yield name, best.number + CROSSED
