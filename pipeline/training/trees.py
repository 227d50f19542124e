"""The boosted trees of a training: half of a blend, and the baseline that the network has to beat.

Grown once, on the columns that the network reads and on all training rows; validation rows end each fit.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from feature_assets.data.dataset import DESCRIPTIONS
from feature_assets.yaml_file import read_mapping
from pipeline.settings import Settings
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.boosting.boosted import Boosted
    from ple_model.boosting.budget import BoostingBudget
    from ple_model.boosting.candidates import CandidateTrees
    from ple_model.boosting.files import Trees
    from ple_model.boosting.fit import BoostingTask
    from ple_model.boosting.tuned import Tuned
    from ple_model.config import ModelConfig
    from ple_model.training.data import TensorTable

FOLDER = DESCRIPTIONS / "trees"
"""Searched settings of the trees, `<data set>.yaml`: what `benchmarks/search_trees.py` wrote."""


def grow(
    workspace: Workspace,
    train: "TensorTable",
    validation: "TensorTable",
    config: "ModelConfig",
    settings: Settings,
    log: Callable[[str], None],
    only: Collection[str] | None = None,
) -> "dict[str, Trees]":
    """Fit the trees of every task, or of `only` these, or load those that an interrupted training left.

    Brands of customers whose history is known have one model over pairs of a row and a brand, which reads what the
    network's repeat term reads; all others are grown on the flat columns.
    """
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

    def report(name: str, grown: "Trees") -> None:
        log(f"LightGBM {name}: {grown.trees} trees on {grown.train_rows:,} rows")

    tasks = tasks_of((train, validation), config)
    wanted = [name for name in tasks if only is None or name in only]
    fitted: dict[str, Trees] = {}
    for name in wanted:
        over_pairs = _over_pairs(name, train, validation, config, settings)
        if over_pairs is not None:
            fitted[name] = over_pairs
            report(name, over_pairs)
    flat = {name: tasks[name] for name in wanted if name not in fitted}
    fitted |= fit_all(matrix, flat, budget, settings.seed, report)
    workspace.save_trees({name: fitted[name] for name in wanted})
    return workspace.trees()


def _over_pairs(
    name: str, train: "TensorTable", validation: "TensorTable", config: "ModelConfig", settings: Settings
) -> "CandidateTrees | None":
    """The model over pairs of a task whose candidates the customers' history knows; None for any other, and where
    labelled rows are too few for trees."""
    from ple_model.boosting.candidates import fit_candidates
    from ple_model.boosting.fit import MIN_ROWS
    from ple_model.config import HISTORIES
    from ple_model.serving.blend import histories_of
    from ple_model.tasks import kind_of

    task = config.task(name)
    if not (task.history and config.inputs.has(*HISTORIES)):
        return None
    parts: list[Any] = []
    for table in (train, validation):
        labelled = np.flatnonzero(table.targets.mask[name].numpy())
        if len(labelled) < MIN_ROWS:
            return None
        histories = histories_of(table.inputs, config.inputs, task.history).take(labelled)
        parts += [histories, table.targets.values[name].numpy()[labelled]]
    candidates = kind_of(task).width(task)
    train_rows, labels, validation_rows, validation_labels = parts
    return fit_candidates(
        train_rows,
        labels,
        validation_rows,
        validation_labels,
        candidates,
        settings.boosting.candidates,
        settings.seed,
        task.history,
        task.kind,
    )


def grow_again(
    workspace: Workspace,
    rows: "TensorTable",
    config: "ModelConfig",
    settings: Settings,
    found: "Mapping[str, Boosted]",
    log: Callable[[str], None],
) -> "dict[str, Trees]":
    """Fit the trees of some tasks again on other rows, with the parameters and the numbers of rounds that an earlier
    fit found, or load those that an interrupted refit left."""
    from ple_model.boosting.fit import fit_all
    from ple_model.boosting.matrix import BinnedMatrix
    from ple_model.serving.blend import flat_matrix

    if workspace.has_trees("refit"):
        return workspace.trees("refit")
    fitted: dict[str, Trees] = {}
    if found:
        budget, features = budget_of(settings), flat_matrix(rows.inputs, config.inputs)
        matrix = BinnedMatrix(features, np.arange(len(features)), max_bin=budget.max_bin)
        del features

        def report(name: str, boosted: "Boosted") -> None:
            log(f"LightGBM {name}: {boosted.trees} trees again on {boosted.train_rows:,} rows")

        tasks = {name: task for name, task in tasks_of((rows,), config).items() if name in found}
        fitted |= fit_all(matrix, tasks, budget, settings.seed, report, rounds=found)
    workspace.save_trees(fitted, "refit")
    return fitted


def budget_of(settings: Settings) -> "BoostingBudget":
    """The settings' budget; a task without one of its own there takes the searched one of its data set, if it has."""
    tuned = searched(settings)
    if tuned is None:
        return settings.boosting
    return tuned.within(settings.boosting, "all" if settings.columns == "all" else "chosen")


def searched(settings: Settings) -> "Tuned | None":
    """The search of the data set; None where there is none, or `tuned_trees` is off."""
    from ple_model.boosting.tuned import Tuned

    file = searched_file(settings)
    if not settings.tuned_trees or not file.is_file():
        return None
    return Tuned.from_dict(read_mapping(file))


def searched_file(settings: Settings) -> Path:
    """Where the searched settings of the data set lie, if there are any: `trees/<data set>.yaml` beside its
    description."""
    folder = FOLDER if settings.dataset_file is None else settings.dataset_file.parent / FOLDER.name
    return folder / f"{settings.load_dataset().name}.yaml"


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
