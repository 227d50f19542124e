"""One cell of a study of tables: train, calibrate on validation rows, predict the rows to judge.

A variant is our network with the boosted trees beside it and the blend of both (what a night would register), trees of
one library, or another model. Sources as in a study of nights: `model`, `network`, `LightGBM`, `peer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.nights import peers
from benchmarks.studies.store import Cell, load_arrays, save_arrays
from benchmarks.studies.study import Arrays, Log, Trained
from benchmarks.studies.tables import boosted, searching, third_party
from benchmarks.studies.tables.table import Table
from benchmarks.studies.training import trained_as
from pipeline.training import baselines
from pipeline.training.evaluation import MODEL

if TYPE_CHECKING:
    from benchmarks.studies.tables.study import TableStudy
    from ple_model.config import ModelConfig, TaskConfig

ROLES = ("validation", "test")
PEER = "peer"
TREES = {"lightgbm": baselines.BOOSTING, "xgboost": "XGBoost", "catboost": "CatBoost"}
"""Library → the source under which its trees stand."""


class Job:
    """What a cell computes."""

    def __init__(self, study: TableStudy, cell: Cell, log: Log) -> None:
        self.study, self.cell, self.log = study, cell, log
        self.settings = study.settings_of(cell.variant, cell.seed)
        self.table = Table.load(cell.material.folder / "table.npz")
        self.tasks = task_configs(self.table)

    def compute(self) -> Trained:
        """Train and predict. A training that was interrupted goes on at its last checkpoint."""
        run = {"network": self.network, "trees": self.trees, "peer": self.peer}
        return run[self.cell.variant.run]()

    # --- what is trained ----------------------------------------------------------------------------------------
    def network(self) -> Trained:
        """Our network, the trees of LightGBM, and their blend with the weights that validation rows give."""
        from ple_model.epochs import at_epochs
        from ple_model.serving.inference import raw_outputs
        from ple_model.training.initial import build
        from ple_model.training.trainer import fit

        train, validation = self.table.tensors("train"), self.table.tensors("validation")
        seed = self.settings.seed
        model = build(self.config(), train, seed)
        training = self.settings.training.model_copy(update={"seed": seed})
        result = fit(model, train, validation, training, self.cell.files.work / "checkpoints", progress=True)
        network = at_epochs(model, result.epochs, result.weights)
        raw = {role: raw_outputs(network, self.table.tensors(role).inputs).outputs for role in ROLES}
        return trained_as(self.blended(raw, self.grown("lightgbm")), result, model)

    def trees(self) -> Trained:
        """The boosted trees of a library, with their searched settings."""
        library = self.cell.variant.peer
        grown = self.grown(library)
        return Trained(self.calibrated(TREES[library], self.as_outputs(grown)))

    def peer(self) -> Trained:
        """Another model: a published network, a library's, or one a task."""
        name, seed, table = self.cell.variant.peer, self.settings.seed, self.table
        if name in third_party.LIBRARIES:
            told, count = third_party.LIBRARIES[name](table, seed)
            given = {role: told(table.rows(role)) for role in ROLES}
            return Trained(self.calibrated(PEER, self.as_outputs(given)), parameters=count)
        train, validation = table.tensors("train"), table.tensors("validation")
        if name in peers.PUBLISHED:
            known, count = peers.published(name, self.config(), train, validation, self.settings.training, seed)
            outputs = {role: known(table.tensors(role).inputs) for role in ROLES}
            return Trained(self.calibrated(PEER, outputs), parameters=count)
        rows = [table.rows(role) for role in ("train", "validation")]
        matrix, is_train = table.flat(np.concatenate(rows)), np.arange(sum(map(len, rows))) < len(rows[0])
        fitted = peers.library(name, matrix, is_train, self.boosting_tasks(np.concatenate(rows)), seed)
        given = {role: {task: p(table.flat(table.rows(role))) for task, p in fitted.items()} for role in ROLES}
        return Trained(self.calibrated(PEER, self.as_outputs(given)))

    # --- steps --------------------------------------------------------------------------------------------------
    def config(self) -> ModelConfig:
        """The network's configuration for the columns and tasks of the table."""
        from ple_model.config import ModelConfig

        values = self.settings.network.to_dict()
        tasks = [task.plain() if self.settings.losses == "plain" else task for task in self.tasks]
        return ModelConfig.from_dict({"inputs": self.table.input_config(), **values, "tasks": tasks})

    def grown(self, library: str) -> dict[str, Arrays]:
        """Role → task → predictions of a library's trees, kept for the other cells of the seed."""
        seed = self.settings.seed
        found: dict[str, Arrays] = {}
        for task in self.tasks:
            settings = searching.best(self.study.source, library, task.name)
            what = {"library": library, "settings": settings, "seed": seed, "task": task.name}
            file = self.cell.material.shared(what, self.study.code()) / "trees.npz"
            if not file.is_file():
                fit = boosted.LIBRARIES[library](self.table, task.name, settings, seed, self.cell.threads)
                self.log(f"{library} {task.name}: {fit.rounds} rounds, validation loss {fit.loss:.6f}")
                save_arrays(file, {role: fit.predict(self.table.mixed(self.table.rows(role))) for role in ROLES})
            for role, told in load_arrays(file).items():
                found.setdefault(role, {})[task.name] = told
        return found

    def as_outputs(self, told: dict[str, Arrays]) -> dict[str, Arrays]:
        """Predictions as the raw outputs that a calibrator reads."""
        from ple_model.tasks import kind_of

        return {
            role: {task.name: kind_of(task).outputs_of(of[task.name]) for task in self.tasks}
            for role, of in told.items()
        }

    def calibrated(self, source: str, raw: dict[str, Arrays]) -> dict[str, Arrays]:
        """Predictions by raw outputs, calibrated on validation rows."""
        from ple_model.evaluation.calibration import fit_calibrator
        from ple_model.tasks import kind_of

        found: dict[str, Arrays] = {role: {} for role in ROLES}
        for task in self.tasks:
            kind, (labels, mask) = kind_of(task), self.labels(task.name)
            calibrator = fit_calibrator(kind, raw["validation"][task.name], labels, mask)
            for role in ROLES:
                told = kind.in_range(calibrator.apply(raw[role][task.name]))
                found[role][f"{source}|{task.name}"] = np.asarray(told, dtype=np.float32)
        return found

    def blended(self, raw: dict[str, Arrays], grown: dict[str, Arrays]) -> dict[str, Arrays]:
        """The network alone, the trees alone, and their blend."""
        from ple_model.evaluation.blending import Halves
        from ple_model.tasks import kind_of

        found = self.calibrated(baselines.NETWORK, raw)
        for role, arrays in self.calibrated(baselines.BOOSTING, self.as_outputs(grown)).items():
            found[role] |= arrays
        mixed: dict[str, Arrays] = {role: {} for role in ROLES}
        for task in self.tasks:
            kind, name, (labels, mask) = kind_of(task), task.name, self.labels(task.name)
            halves = Halves.fit(kind, raw["validation"][name], grown["validation"][name], labels, mask)
            self.log(f"{name}: {halves.weight:.0%} network")
            for role in ROLES:
                parts = halves.predictions(kind, raw[role][name], grown[role][name])
                mixed[role][name] = halves.mix(kind, *parts)
        for role, arrays in self.calibrated(MODEL, mixed).items():
            found[role] |= arrays
        return found

    def labels(self, task: str) -> tuple[NDArray, NDArray[np.bool_]]:
        """Labels of the validation rows, all known."""
        labels = self.table.labels[task][self.table.rows("validation")]
        return labels, np.ones(len(labels), dtype=bool)

    def boosting_tasks(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """The tasks over these rows as the libraries of a study of nights take them."""
        from ple_model.boosting.fit import BoostingTask
        from ple_model.tasks import kind_of

        every = np.ones(len(rows), dtype=bool)
        return {t.name: BoostingTask(kind_of(t), self.table.labels[t.name][rows], every, 1) for t in self.tasks}


def task_configs(table: Table) -> list[TaskConfig]:
    """The tasks of a table, all of one group."""
    from ple_model.tasks import TaskConfig

    losses = {"binary": "log_loss", "regression": "mse"}
    return [TaskConfig(name=name, group="table", kind=kind, loss=losses[kind]) for name, kind in table.kinds.items()]
