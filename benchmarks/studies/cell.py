"""One cell: a variant with a seed at an origin is trained, and the rows to judge are predicted.

Predictions are those that a registered version would give: calibrated, fallbacks in place. Only labelled rows are kept.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.studies.origin import plan_of, roles_of
from benchmarks.studies.store import CellAbout, CellFiles, Judged, OriginFiles, Store, digest_of_arrays, model_code
from benchmarks.studies.study import Study, Variant
from feature_assets.snapshots import SnapshotPlan
from pipeline.settings import Settings
from pipeline.training import baselines, model
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.serving.scorer import Scorer
    from ple_model.training.config import TrainingConfig
    from ple_model.training.data import TensorTable
    from ple_model.training.trainer import FitResult

Log = Callable[[str], None]
NETWORK, REFIT = "network", "refit"
STOPPING_DATES = 4
"""Latest training dates whose validation customers choose the epoch, where a variant asks for that."""


@dataclass(frozen=True)
class Task:
    """A cell that is to be computed."""

    study: Study
    origin: date
    variant: Variant
    seed: int
    root: Path
    threads: int = 2

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.origin} · {self.variant.name} · seed {self.seed}"

    @property
    def files(self) -> CellFiles:
        """Its result."""
        return Store(self.root).cell(self.study, str(self.origin), self.variant, self.seed)


def compute(task: Task, log: Log = print) -> CellAbout:
    """Train, predict, write. A training that was interrupted goes on at its last checkpoint."""
    import torch

    torch.set_num_threads(task.threads)
    started, store, files = time.monotonic(), Store(task.root), task.files
    origin = store.origin(task.study, str(task.origin))
    settings = task.study.settings_of(task.variant, task.seed, task.root)
    plan = plan_of(task.origin, settings)
    if files.work.exists() and _code_of(files) != model_code():
        shutil.rmtree(files.work)  # a checkpoint of other code
    files.folder.mkdir(parents=True, exist_ok=True)
    (files.folder / "code").write_text(model_code())
    work = origin.workspace.for_another_model(files.work)
    run = {"network": _network, "baselines": _baselines, "refit": _refit}[task.variant.run]
    predictions, best, speed = run(task, origin, work, plan, settings, log)
    for role, arrays in predictions.items():
        files.save(role, arrays)
    flat = {f"{role}|{key}": values for role, arrays in predictions.items() for key, values in arrays.items()}
    about = CellAbout(
        task.study.name,
        str(task.origin),
        task.variant.name,
        task.seed,
        model_code(),
        digest_of_arrays(flat),
        time.monotonic() - started,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        speed,
        best,
    )
    files.finish(about)
    shutil.rmtree(files.work, ignore_errors=True)
    return about


Predictions = dict[str, dict[str, NDArray]]
"""Role → array by name (`CellFiles.save`)."""


def _network(
    task: Task, origin: OriginFiles, work: Workspace, plan: SnapshotPlan, settings: Settings, log: Log
) -> tuple[Predictions, str, float]:
    """The network as a night trains it; its calibrated predictions."""
    scorer, result = _trained(task, origin, work, plan, settings, log)
    return _predicted(task, origin, {NETWORK: scorer}), *_about(result)


def _refit(
    task: Task, origin: OriginFiles, work: Workspace, plan: SnapshotPlan, settings: Settings, log: Log
) -> tuple[Predictions, str, float]:
    """The network as a night trains it, and the same settings fitted again on every label that had matured by the
    origin, for as many epochs as the first fit found best, with its calibration."""
    from ple_model.serving.scorer import Scorer
    from ple_model.training.initial import build
    from ple_model.training.trainer import fit

    scorer, result = _trained(task, origin, work, plan, settings, log)
    again = origin.workspace.for_another_model(work.folder / "refit")
    again.save_labels(pl.read_parquet(origin.refit_labels))
    train, validation = (model.tensors(w, r, scorer.config) for w, r in ((again, "train"), (work, "validation")))
    network = build(scorer.config, train, seed=settings.seed)
    # The validation rows are among the training rows now, so the last epoch has the best score and is kept.
    fit(network, train, validation, _same_epochs(result, settings), again.checkpoints)
    fresh = Scorer(replace(scorer.bundle, model=network))
    return _predicted(task, origin, {NETWORK: scorer, REFIT: fresh}), *_about(result)


def _same_epochs(result: FitResult, settings: Settings) -> TrainingConfig:
    """The settings of a training that ends where the best epoch of `result` ended."""
    phase, epoch = result.best
    first = [report for report in result.history if report.phase == 1]
    best_of_first = max(first, key=lambda report: report.score).epoch
    epochs = (epoch, 0) if phase == 1 else (best_of_first, epoch)
    return settings.training.model_copy(
        update={"phase1_epochs": max(epochs[0], 1), "phase2_epochs": epochs[1], "seed": settings.seed}
    )


def _trained(
    task: Task, origin: OriginFiles, work: Workspace, plan: SnapshotPlan, settings: Settings, log: Log
) -> tuple[Scorer, FitResult]:
    """The trained network with its calibration, and how its training went."""
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.scorer import Scorer

    if task.variant.stopping == "training dates":
        work.save_labels(stop_on_training_dates(work.labels(), plan))
    result, _ = model.train(work, plan, settings.load_dataset(), settings, lambda _: None, log)
    scorer = Scorer(load_bundle(work.bundle))
    if task.variant.stopping == "training dates":
        scorer = _calibrated_on_the_holdout(scorer, origin, work)
    return scorer, result


def _about(result: FitResult) -> tuple[str, float]:
    """The best epoch in words, and rows a second."""
    speed = max(report.rows_per_second for report in result.history)
    return f"epoch {result.best[1]} of phase {result.best[0]}", speed


def _predicted(task: Task, origin: OriginFiles, scorers: Mapping[str, Scorer]) -> Predictions:
    """Predictions of the labelled rows of all roles by each source."""
    found: Predictions = {}
    for role in roles_of(task.study):
        judged, arrays = Judged.load(origin.judged(role)), {}
        inputs = model.tensors(origin.workspace, role, next(iter(scorers.values())).config).inputs
        for source, scorer in scorers.items():
            predicted = scorer.predict(inputs)
            for name, mask in judged.mask.items():
                values = predicted.predictions[name][mask]
                arrays[f"{source}|{name}"] = values.astype(np.float32)
                arrays[f"{source}|{name}|u"] = predicted.u[name][mask].astype(np.float32)
                arrays[f"{source}|{name}|fallback"] = predicted.fallback[name][mask]
                half = getattr(scorer.bundle.calibration[name].calibrator, "half_width", None)
                if half is not None:
                    arrays[f"{source}|{name}|half_width"] = half(values).astype(np.float32)
        found[role] = arrays
    return found


def _baselines(
    task: Task, origin: OriginFiles, work: Workspace, plan: SnapshotPlan, settings: Settings, log: Log
) -> tuple[Predictions, str, None]:
    """The baselines of a night, fitted once and asked for the rows of all roles together."""
    from ple_model.tasks import kind_of
    from ple_model.training.data import TensorTable

    config = model.model_config(settings.network, work.state(), work.label_state(), plan)
    train, validation = (model.tensors(work, role, config) for role in ("train", "validation"))
    roles = roles_of(task.study)
    tables: dict[str, TensorTable] = {role: model.tensors(work, role, config) for role in roles}
    ends = np.cumsum([len(tables[role]) for role in roles])
    predicted, _ = baselines.fit(train, validation, TensorTable.concat(list(tables.values())), config, settings, log)
    found: Predictions = {role: {} for role in roles}
    for name, models in predicted.items():
        for source, values in models.items():
            for role, part in zip(roles, np.split(values, ends[:-1]), strict=True):
                mask = tables[role].targets.mask[name].numpy()
                found[role][f"{source}|{name}"] = part[mask].astype(np.float32)
    for role in roles:
        if origin.extra(role, baselines.OWN_PAST).is_file():
            with np.load(origin.extra(role, baselines.OWN_PAST), allow_pickle=False) as past:
                for name in past.files:
                    constant = found[role][f"{baselines.CONSTANT}|{name}"]
                    kind = kind_of(config.task(name))
                    scores = kind.own_past(past[name], constant[0]) if len(constant) else past[name]
                    assert scores is not None  # only tasks with such a baseline have the file
                    found[role][f"{baselines.OWN_PAST}|{name}"] = scores.astype(np.float32)
    return found, "", None


def stop_on_training_dates(labels: pl.DataFrame, plan: SnapshotPlan) -> pl.DataFrame:
    """The labels with other roles: validation are the rows of the holdout's validation customers at the latest
    `STOPPING_DATES` training dates; their rows of the holdout take part in nothing.

    A label of such a row counts only where it has matured before the holdout, as in training.
    """
    days = list(plan.train[-STOPPING_DATES:])
    validation = plan.role(labels["customer_id"], plan.holdout[0]) == "validation"
    late = labels["as_of"].is_in(days)
    role = (
        pl.when(pl.Series(late) & pl.Series(validation))
        .then(pl.lit("validation"))
        .when(pl.col("role") == "validation")
        .then(pl.lit("unused"))
        .otherwise(pl.col("role"))
    )
    return labels.with_columns(role.alias("role"))


def _calibrated_on_the_holdout(scorer: Scorer, origin: OriginFiles, work: Workspace) -> Scorer:
    """The same network with the calibration that the holdout's validation rows give."""
    from ple_model.serving.scorer import Scorer
    from ple_model.training.finish import calibrate

    train = model.tensors(work, "train", scorer.config)
    validation = model.tensors(origin.workspace, "validation", scorer.config)
    return Scorer(replace(scorer.bundle, calibration=calibrate(scorer.bundle.model, train, validation)))


def _code_of(files: CellFiles) -> str:
    mark = files.folder / "code"
    return mark.read_text() if mark.is_file() else ""
