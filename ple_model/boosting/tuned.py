"""Searched settings of boosted trees as plain values: every trial with its validation loss, the best one first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import yaml

from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.closed import ClosedModel

Columns = Literal["all", "chosen"]


class Trial(ClosedModel):
    """One fit of one task.

    number: of the trial, from which its settings are drawn. columns: those that it read. loss: mean log loss or squared
    error over the labelled validation rows. rounds: found by early stopping. trees_a_round: 1, or a tree for each
    class. seconds: of one thread.
    """

    number: int
    columns: Columns
    loss: float
    rounds: int
    trees_a_round: int
    seconds: float
    budget: TreeBudget


class Tuned(ClosedModel):
    """The trials of every task on the training and validation rows of one training date.

    `columns` counts those of the data set and the chosen ones.
    """

    dataset: str
    as_of: str
    seed: int
    train_rows: int
    validation_rows: int
    columns: Mapping[Columns, int]
    tasks: Mapping[str, tuple[Trial, ...]] = {}

    def with_trial(self, task: str, trial: Trial) -> Tuned:
        """The same with one more trial."""
        trials = sorted((*self.tasks.get(task, ()), trial), key=lambda known: (known.loss, known.number))
        return self.model_copy(update={"tasks": {**self.tasks, task: tuple(trials)}})

    def best(self, task: str, columns: Columns | None = None) -> Trial | None:
        """The trial of the least loss, on any columns or on these."""
        fitting = (trial for trial in self.tasks.get(task, ()) if columns in (None, trial.columns))
        return next(fitting, None)

    def within(self, budget: BoostingBudget, columns: Columns = "chosen") -> BoostingBudget:
        """A night's budget: each task's best settings on these columns (on others, where no trial
        read these) within the limits of its kind.

        Settings whose trees are more than `max_trees` learn faster in the same measure, so that the product of rate
        and rounds stays what the search found. A task with settings of its own in `budget` keeps them.
        """
        tasks = dict(budget.tasks)
        for task in self.tasks:
            trial = self.best(task, columns) or self.best(task)
            if task not in tasks and trial is not None:
                limits = budget.multiclass if trial.trees_a_round > 1 else budget.single
                faster = max(1.0, trial.rounds * trial.trees_a_round / limits.max_trees)
                kept = {name: getattr(limits, name) for name in ("rounds", "max_trees", "early_stopping")}
                rate = min(1.0, trial.budget.learning_rate * faster)
                tasks[task] = trial.budget.model_copy(update={"learning_rate": rate, **kept})
        return budget.model_copy(update={"tasks": tasks})

    def text(self) -> str:
        """YAML, a line a trial."""
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"tasks"})
        lines = [yaml.safe_dump(content, sort_keys=False).rstrip(), "tasks:" if self.tasks else "tasks: {}"]
        for task, trials in self.tasks.items():
            lines.append(f"  {task}:")
            for trial in trials:
                values = trial.model_dump(mode="json", exclude_none=True)
                flow = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10_000)
                lines.append(f"  - {flow.strip()}")
        return "\n".join(lines) + "\n"
