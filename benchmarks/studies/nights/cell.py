"""One cell: a variant with a seed at an origin is trained, and the rows to judge are predicted.

Predictions are those that a registered version would give: calibrated, fallbacks in place. Beside the version
(`model`) stand its parts: the network alone, the trees alone, the constant. Only labelled rows are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.studies.nights import peers
from benchmarks.studies.nights.content import DATA_SEED, model_code
from benchmarks.studies.nights.files import NightFiles
from benchmarks.studies.nights.origin import roles_of
from benchmarks.studies.store import Cell, Judged, load_arrays
from benchmarks.studies.study import Arrays, Log, Trained
from benchmarks.studies.training import trained_as
from feature_assets.snapshots import SnapshotPlan
from pipeline.settings import ColumnSet, Settings
from pipeline.training import baselines, columns, material, model, refit, trees
from pipeline.training.columns import ColumnChoice
from pipeline.training.evaluation import MODEL, side_by_side
from pipeline.training.training_set import customers_of
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.studies.nights.study import NightStudy
    from ple_model.config import ModelConfig
    from ple_model.inputs import Inputs
    from ple_model.serving.scorer import Scorer
    from ple_model.tasks.kinds import Kind
    from ple_model.training.trainer import FitResult

REFIT, REFIT_NETWORK, PEER = "refit", "refit network", "peer"
"""Sources: a version that was fitted again, its network alone, and a model of `peers`."""
SHARED = (baselines.BOOSTING, baselines.CONSTANT, baselines.OWN_PAST, baselines.REPEAT_BUYING)
"""Sources that the network's settings do not decide: cells of several variants have the same."""
STOPPING_DATES = 4
"""Latest training dates whose validation customers choose the epoch, where a variant asks for that."""


def choose_columns(study: NightStudy, cell: Cell, log: Log = print) -> None:
    """Choose the columns that the cell reads, unless another cell has."""
    job = Job(study, cell, log)
    job.with_columns(job.settings)


class Job:
    """What a cell computes. Predictions are a mapping role → array by name (`CellFiles.save`)."""

    def __init__(self, study: NightStudy, cell: Cell, log: Log) -> None:
        self.study, self.cell, self.log = study, cell, log
        self.origin = NightFiles.of(cell.material)
        self.settings = study.settings_of(cell.variant, cell.seed, cell.root)
        self.dataset = self.origin.dataset()
        plan = material.training_plan(self.settings, self.dataset, date.fromisoformat(cell.origin))
        self.plan = plan.without(self.origin.workspace.label_state().off)

    def compute(self) -> Trained:
        """Train and predict. A training that was interrupted goes on at its last checkpoint."""
        run = {"network": self.network, "trees": self.trees_alone, "refit": self.refit, "peer": self.peer}
        trained = run[self.cell.variant.run]()
        for role, arrays in trained.predictions.items():
            arrays |= self.own_past(role, arrays) | self.repeat_buying(role, arrays)
        return trained

    # --- what is trained ----------------------------------------------------------------------------------------
    def network(self) -> Trained:
        """A version as a night makes it."""
        scorer, result, work = self.version()
        return trained_as(self.of_version(scorer, work), result, scorer.bundle.model)

    def trees_alone(self) -> Trained:
        """The boosted trees of the variant's settings, calibrated on validation rows: each task's with the best
        searched settings, on the columns that these read, all or the chosen ones."""
        found: dict[str, Arrays] = {}
        tuned, names = trees.searched(self.settings), list(self.plan.windows)
        best = {name: tuned.best(name) if tuned is not None else None for name in names}
        read = {name: trial.columns if trial is not None else self.settings.columns for name, trial in best.items()}
        for given in sorted(set(read.values())):
            told = self._trees_on(given, [name for name in names if read[name] == given])
            for role, arrays in told.items():
                found.setdefault(role, {}).update(arrays)
        return Trained(found)

    def _trees_on(self, given: ColumnSet, names: Sequence[str]) -> dict[str, Arrays]:
        """The boosted trees of some tasks on these columns, and the constants."""
        from ple_model.serving.blend import tree_predictions
        from ple_model.tasks import kind_of

        work, config = self.with_trees(given, names)
        fitted = work.trees()

        def raw(inputs: Inputs) -> Arrays:
            grown = tree_predictions(fitted, inputs, config.inputs)
            return {name: kind_of(config.task(name)).outputs_of(told) for name, told in grown.items()}

        found = self.calibrated(config, baselines.BOOSTING, raw)
        for role, arrays in found.items():
            mask = Judged.load(self.origin.judged(role)).mask
            for name, grown in fitted.items():
                arrays[f"{baselines.CONSTANT}|{name}"] = grown.constants(int(mask[name].sum())).astype(np.float32)
        return found

    def peer(self) -> Trained:
        """Another model on the rows and columns of the variant's settings (`peers`)."""
        from ple_model.serving.blend import flat_matrix
        from ple_model.tasks import kind_of

        name, count = self.cell.variant.peer, None
        work = self.origin.workspace
        _, choice, _ = self.with_columns(self.settings)
        config = self.config(choice)
        train, validation = (model.tensors(work, role, config) for role in ("train", "validation"))
        if name in peers.LIBRARIES:
            matrix = np.concatenate([flat_matrix(table.inputs, config.inputs) for table in (train, validation)])
            is_train = np.arange(len(matrix)) < len(train)
            tasks = trees.tasks_of((train, validation), config)
            fitted = peers.library(name, matrix, is_train, tasks, self.settings.seed)

            def raw(inputs: Inputs) -> Arrays:
                rows = flat_matrix(inputs, config.inputs)
                return {task: kind_of(config.task(task)).outputs_of(told(rows)) for task, told in fitted.items()}
        else:
            own = model.network_rows(work, "train", train, self.settings)
            raw, count = peers.published(name, config, own, validation, self.settings.training, self.settings.seed)
        return Trained(self.calibrated(config, PEER, raw), parameters=count)

    def refit(self) -> Trained:
        """A version as a night makes it, and as a night with `refit: on` registers it: fitted again on every label that
        had matured by the origin, with the calibration of the first fit."""
        from ple_model.serving.bundle import load_bundle
        from ple_model.serving.scorer import Scorer

        scorer, result, work = self.version()
        refit.fit_again(work, self.settings, self.log)
        found, renewed = self.of_version(scorer, work), self.of_version(Scorer(load_bundle(work.candidate)), work)
        for role, arrays in renewed.items():
            for source, told in ((MODEL, REFIT), (baselines.NETWORK, REFIT_NETWORK)):
                found[role] |= {
                    key.replace(f"{source}|", f"{told}|", 1): values
                    for key, values in arrays.items()
                    if key.startswith(f"{source}|")
                }
        return trained_as(found, result, scorer.bundle.model)

    # --- steps --------------------------------------------------------------------------------------------------
    def version(self) -> tuple[Scorer, FitResult, Workspace]:
        """The version of the variant, how its training went, and its workspace."""
        from ple_model.serving.bundle import load_bundle
        from ple_model.serving.scorer import Scorer

        shared, _ = self.with_trees()
        work = shared.for_another_model(self.cell.files.work)
        if self.cell.variant.stopping == "training dates":
            work.save_labels(stop_on_training_dates(work.labels(), self.plan))
        result, _ = model.train(work, self.plan, self.dataset, self.settings, lambda _: None, self.log)
        scorer = Scorer(load_bundle(work.bundle))
        if self.cell.variant.stopping == "training dates":
            scorer = self.calibrated_on_the_holdout(scorer, work)
        return scorer, result, work

    def with_trees(
        self, given: ColumnSet | None = None, only: Sequence[str] | None = None
    ) -> tuple[Workspace, ModelConfig]:
        """A workspace whose columns are chosen and whose trees are grown, shared by all cells that want the same.

        given: columns in place of the settings'; only: the tasks that have trees, all without it.
        """
        own = self.settings.model_copy(update={"columns": given or self.settings.columns})
        chosen, choice, wanted = self.with_columns(own)
        config = self.config(choice)
        budget = trees.budget_of(own).model_dump(mode="json")
        of = {"trees": budget, "seed": own.seed} | ({"tasks": list(only)} if only is not None else {})
        grown = chosen.for_another_model(self.origin.shared({**wanted, **of}, model_code()))
        if not grown.has_trees():
            train, validation = (model.tensors(grown, role, config) for role in ("train", "validation"))
            trees.grow(grown, train, validation, config, own, self.log, only)
        return grown, config

    def with_columns(self, own: Settings) -> tuple[Workspace, ColumnChoice, dict[str, Any]]:
        """A workspace whose columns are chosen, with one seed for all cells; the choice, and what it depends on."""
        settings = own.model_copy(update={"seed": DATA_SEED})
        wanted = {"columns": settings.columns, "budget": settings.column_budget.model_dump(mode="json")}
        chosen = self.origin.workspace.for_another_model(self.origin.shared(wanted, model_code()))
        return chosen, columns.choose(chosen, self.plan, settings, self.log), wanted

    def config(self, choice: ColumnChoice) -> ModelConfig:
        """The network's configuration."""
        work = self.origin.workspace
        return model.model_config(self.settings, work.state(), work.label_state(), self.plan, choice)

    def calibrated_on_the_holdout(self, scorer: Scorer, work: Workspace) -> Scorer:
        """The same network with the blend and the calibration that the holdout's validation rows give."""
        from ple_model.serving.scorer import Scorer
        from ple_model.training.finish import calibrate

        train = model.tensors(work, "train", scorer.config)
        validation = model.tensors(self.origin.workspace, "validation", scorer.config)
        fitted = work.trees()
        blended = self.settings.blend == "auto"
        customers = customers_of(self.origin.workspace, "validation")
        calibration = calibrate(
            scorer.bundle.model, train, validation, trees=fitted, blended=blended, customers=customers
        )
        used = {name: fitted[name] for name, task in calibration.items() if task.weight < 1}
        return Scorer(replace(scorer.bundle, calibration=calibration, trees=used))

    def calibrated(self, config: ModelConfig, source: str, raw: Callable[[Inputs], Arrays]) -> dict[str, Arrays]:
        """Predictions of the rows to judge by raw outputs (task → outputs of rows), calibrated on validation rows."""
        from ple_model.evaluation.calibration import fit_calibrator
        from ple_model.tasks import kind_of

        validation = model.tensors(self.origin.workspace, "validation", config)
        targets = validation.targets
        calibrators = {
            name: fit_calibrator(
                kind_of(config.task(name)), outputs, targets.values[name].numpy(), targets.mask[name].numpy()
            )
            for name, outputs in raw(validation.inputs).items()
        }

        def predict(inputs: Inputs) -> Arrays:
            return {
                f"{source}|{name}": kind_of(config.task(name)).in_range(calibrators[name].apply(outputs))
                for name, outputs in raw(inputs).items()
            }

        return self.by_role(config, predict)

    # --- predictions --------------------------------------------------------------------------------------------
    def of_version(self, scorer: Scorer, work: Workspace) -> dict[str, Arrays]:
        """Predictions of a version and of its parts, and what it publishes beside them."""
        fitted = work.trees()

        def predict(inputs: Inputs) -> Arrays:
            predicted, models = side_by_side(scorer, fitted, inputs)
            found = {f"{source}|{name}": told for name, of in models.items() for source, told in of.items()}
            for name in predicted.predictions:
                if name in predicted.u:
                    found[f"{MODEL}|{name}|u"] = predicted.u[name]
                found[f"{MODEL}|{name}|fallback"] = predicted.fallback[name]
                if name in predicted.regions:
                    found[f"{MODEL}|{name}|region"] = predicted.regions[name]
            return found

        return self.by_role(scorer.config, predict)

    def by_role(self, config: ModelConfig, predict: Callable[[Inputs], Arrays]) -> dict[str, Arrays]:
        """The predictions of the labelled rows of every role that the study judges or may judge."""
        found = {}
        for role in roles_of(self.study):
            judged = Judged.load(self.origin.judged(role))
            told = predict(model.tensors(self.origin.workspace, role, config).inputs)
            found[role] = _labelled(told, judged)
        return found

    def own_past(self, role: str, arrays: Mapping[str, NDArray]) -> Arrays:
        """The baseline from a customer's own past, of the tasks that have one."""
        found = {}
        for name, kind, counts, constant in self._beside(role, baselines.OWN_PAST, arrays):
            told = kind.own_past(counts, constant[0]) if len(constant) else counts
            assert told is not None  # only tasks with such a baseline have counts
            found[f"{baselines.OWN_PAST}|{name}"] = told.astype(np.float32)
        return found

    def repeat_buying(self, role: str, arrays: Mapping[str, NDArray]) -> Arrays:
        """The baseline of repeat buying, of the tasks that have one; the constant where it knows no answer."""
        found = {}
        for name, kind, told, constant in self._beside(role, baselines.REPEAT_BUYING, arrays):
            answer = np.where(np.isfinite(told), told, constant)
            found[f"{baselines.REPEAT_BUYING}|{name}"] = kind.in_range(answer).astype(np.float32)
        return found

    def _beside(
        self, role: str, what: str, arrays: Mapping[str, NDArray]
    ) -> Iterator[tuple[str, Kind, NDArray, NDArray]]:
        """Task, its kind, what the origin keeps of a baseline [rows, …], and the constant [rows, …]; nothing for a
        peer, which has no constants."""
        from ple_model.tasks import kind_of

        file = self.origin.extra(role, what)
        if not file.is_file():
            return
        kinds = self.origin.about()["tasks"]
        for name, told in load_arrays(file).items():
            constant = arrays.get(f"{baselines.CONSTANT}|{name}")
            if constant is not None:
                yield name, kind_of(kinds[name]), told, constant


def stop_on_training_dates(labels: pl.DataFrame, plan: SnapshotPlan) -> pl.DataFrame:
    """The labels with other roles: validation are the rows of the holdout's validation customers at the latest
    `STOPPING_DATES` training dates; their rows of the holdout take part in nothing.

    A label of such a row counts only where it has matured before the holdout, as in training.
    """
    late = labels["as_of"].is_in(list(plan.train[-STOPPING_DATES:]))
    validation = plan.role(labels["customer_id"], plan.holdout[0]) == "validation"
    role = (
        pl.when(late & validation)
        .then(pl.lit("validation"))
        .when(pl.col("role") == "validation")
        .then(pl.lit("unused"))
        .otherwise(pl.col("role"))
    )
    return labels.with_columns(role.alias("role"))


def _labelled(told: Arrays, judged: Judged) -> Arrays:
    """The labelled rows, numbers as float32; a region as whether it holds the label (`|held`)."""
    found: Arrays = {}
    for key, values in told.items():
        source, name, *part = key.split("|")
        mask = judged.mask[name]
        if part == ["region"]:
            region, labels = values[mask], judged.labels[name][mask]
            if region.dtype == np.bool_:  # classes
                held = region[np.arange(len(labels)), labels.astype(np.int64)]
            else:  # low and high end
                held = (region[:, 0] <= labels) & (labels <= region[:, 1])
            found[f"{source}|{name}|held"] = held
        else:
            kept = values[mask]
            found[key] = kept if kept.dtype == np.bool_ else kept.astype(np.float32)
    return found
