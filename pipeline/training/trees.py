"""The boosted trees of a training: half of a blend, and the baseline that the network has to beat.

Grown once, on the columns that the network reads and on all training rows; validation rows end each fit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.settings import REPOSITORY, Settings
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.boosting.boosted import Boosted
    from ple_model.boosting.budget import BoostingBudget
    from ple_model.boosting.fit import BoostingTask
    from ple_model.config import ModelConfig
    from ple_model.training.data import TensorTable

FOLDER = REPOSITORY / "data" / "trees"
"""Searched settings of the trees, `<data set>.yaml`: what `benchmarks/search_trees.py` wrote."""


def grow(
    workspace: Workspace,
    train: "TensorTable",
    validation: "TensorTable",
    config: "ModelConfig",
    settings: Settings,
    log: Callable[[str], None],
) -> "dict[str, Boosted]":
    """Fit the trees of every task, or load those that an interrupted training left."""
    from ple_model.boosting.fit import fit_all
    from ple_model.boosting.matrix import BinnedMatrix
    from ple_model.serving.blend import flat_matrix

    if workspace.has_trees():
        return workspace.trees()
    budget = budget_of(settings)
    features = np.concatenate([flat_matrix(table.inputs, config.inputs) for table in (train, validation)])
    is_train = np.arange(len(features)) < len(train)
    matrix = BinnedMatrix(features, is_train, ~is_train, budget.max_bin)
    del features

    def report(name: str, boosted: "Boosted") -> None:
        log(f"LightGBM {name}: {boosted.trees} trees on {boosted.train_rows:,} rows")

    fitted = fit_all(matrix, tasks_of((train, validation), config), budget, settings.seed, report)
    workspace.save_trees(fitted)
    return fitted


def grow_again(
    workspace: Workspace,
    rows: "TensorTable",
    config: "ModelConfig",
    settings: Settings,
    found: "Mapping[str, Boosted]",
    log: Callable[[str], None],
) -> "dict[str, Boosted]":
    """Fit the trees of some tasks again on other rows, with the parameters and the numbers of rounds that an earlier
    fit found, or load those that an interrupted refit left."""
    from ple_model.boosting.fit import fit_all
    from ple_model.boosting.matrix import BinnedMatrix
    from ple_model.serving.blend import flat_matrix

    if workspace.has_trees("refit"):
        return workspace.trees("refit")
    fitted: dict[str, Boosted] = {}
    if found:
        budget, features = budget_of(settings), flat_matrix(rows.inputs, config.inputs)
        matrix = BinnedMatrix(features, np.arange(len(features)), max_bin=budget.max_bin)
        del features

        def report(name: str, boosted: "Boosted") -> None:
            log(f"LightGBM {name}: {boosted.trees} trees again on {boosted.train_rows:,} rows")

        tasks = {name: task for name, task in tasks_of((rows,), config).items() if name in found}
        fitted = fit_all(matrix, tasks, budget, settings.seed, report, rounds=found)
    workspace.save_trees(fitted, "refit")
    return fitted


def budget_of(settings: Settings) -> "BoostingBudget":
    """The settings' budget; a task without one of its own there takes the searched one of its data set, if it has."""
    from ple_model.boosting.tuned import Tuned

    file = FOLDER / f"{settings.load_dataset().name}.yaml"
    if not settings.tuned_trees or not file.is_file():
        return settings.boosting
    return Tuned.from_dict(yaml.safe_load(file.read_text(encoding="utf-8"))).within(settings.boosting)


def tasks_of(tables: "Sequence[TensorTable]", config: "ModelConfig") -> "dict[str, BoostingTask]":
    """What trees learn of every task, over the rows of all tables, one after the other."""
    from ple_model.boosting.fit import BoostingTask
    from ple_model.tasks import kind_of

    tasks = {}
    for task in config.tasks:
        labels = stack_labels([table.targets.values[task.name].numpy() for table in tables])
        mask = np.concatenate([table.targets.mask[task.name].numpy() for table in tables])
        tasks[task.name] = BoostingTask(kind_of(task), labels, mask, kind_of(task).width(task))
    return tasks


def stack_labels(parts: Sequence[NDArray]) -> NDArray:
    """Labels of several tables; lists of brands [n, k] are padded with −1 to one width."""
    width = max(part.shape[1] for part in parts) if parts[0].ndim == 2 else 0
    if width:
        parts = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=-1) for p in parts]
    return np.concatenate(parts)
