"""A trained network, calibrated and written as a bundle: the step behind `fit`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.boosting.files import Trees
from ple_model.epochs import Network
from ple_model.evaluation.blending import Halves
from ple_model.evaluation.bootstrap import RESAMPLES
from ple_model.evaluation.calibration import fit_calibrator
from ple_model.evaluation.calibration.natural import Inverse, fit_natural
from ple_model.evaluation.kind import Floats
from ple_model.evaluation.uncertainty import COVERAGE, BaseRates, Validation, fit_uncertainty
from ple_model.serving.blend import blend, tree_predictions
from ple_model.serving.bundle import TaskCalibration, save_bundle
from ple_model.serving.columns import MISSING, error_columns, missing_share
from ple_model.serving.inference import RawOutputs, raw_outputs
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable


def calibrate(
    model: Network,
    train: TensorTable,
    valid: TensorTable,
    *,
    trees: Mapping[str, Trees] | None = None,
    blended: bool = True,
    inverses: Mapping[str, Inverse] | None = None,
    customers: NDArray | Sequence[Any] | None = None,
    coverage: float = COVERAGE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, TaskCalibration]:
    """Blend weights, calibrators, uncertainties, regions and maps to natural units from validation rows, base rates
    from training rows.

    Args:
        model: trained.
        train: training rows.
        valid: validation rows.
        trees: with them a task is a blend of network and trees with the weight that validation rows give.
        blended: False leaves every task to the network; the trees are calibrated beside it.
        inverses: task → the inverse of its label's scale, where that is not the natural one.
        customers: [R] ids of the validation rows; without them each row counts as a customer of its own.
        coverage: least share of validation rows that keep their own prediction; it is set over all of them, labelled or
            not, since every customer is scored.
        resamples: of the intervals.
        seed: splits the validation customers and draws the resamples.

    Raises:
        ValueError: a task without a single training label.
    """
    alone, grown = raw_outputs(model, valid.inputs), tree_predictions(trees or {}, valid.inputs, model.config.inputs)
    halves = fit_halves(model, alone, trees or {}, grown, valid, blended)
    raw = blend(alone, halves, grown, model.config.tasks)
    posterior = train.inputs.cluster_probs.numpy()
    columns = error_columns(valid.inputs, model.config.inputs)
    missing = missing_share(valid.inputs, model.config.inputs)
    whose = np.arange(len(valid)) if customers is None else np.asarray(customers)
    fitted = {}
    for task in model.config.tasks:
        labels, mask = valid.targets.values[task.name].numpy(), valid.targets.mask[task.name].numpy()
        kind, outputs = kind_of(task), raw.outputs[task.name]
        calibrator = fit_calibrator(kind, outputs, labels, mask)
        known = train.targets.values[task.name].numpy(), train.targets.mask[task.name].numpy()
        rates = BaseRates.fit(kind, *known, posterior, kind.width(task))
        validation = Validation(
            predictions=calibrator.apply(outputs),
            labels=labels,
            mask=mask,
            customers=whose,
            cluster_probs=valid.inputs.cluster_probs.numpy(),
            signals={**raw.signals[task.name], MISSING: missing},
            columns=columns,
        )
        uncertainty = fit_uncertainty(kind, validation, rates, coverage=coverage, resamples=resamples, seed=seed)
        natural = None
        if task.name in (inverses or {}):
            own = known[0][known[1]]
            natural = fit_natural(calibrator.apply(outputs[mask]), labels[mask], (inverses or {})[task.name], own)
        fitted[task.name] = TaskCalibration(calibrator, uncertainty, halves.get(task.name), natural)
    return fitted


def fit_halves(
    model: Network,
    raw: RawOutputs,
    trees: Mapping[str, Trees],
    grown: Mapping[str, Floats],
    valid: TensorTable,
    blended: bool,
) -> dict[str, Halves]:
    """Calibrators of both halves and the weight of their blend, of each task that has trees.

    Args:
        model: the network.
        raw: its raw outputs on the validation rows.
        trees: by task; a task that they predict by its constant is left to the network.
        grown: their predictions of the validation rows.
        valid: the validation rows.
        blended: False leaves every task to the network.
    """
    fitted = {}
    for task in model.config.tasks:
        if task.name in trees:
            labels, mask = valid.targets.values[task.name].numpy(), valid.targets.mask[task.name].numpy()
            worth = blended and trees[task.name].trees > 0
            fitted[task.name] = Halves.fit(kind_of(task), raw.outputs[task.name], grown[task.name], labels, mask, worth)
    return fitted


def finish(
    model: Network,
    train: TensorTable,
    valid: TensorTable,
    directory: Path,
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]] | None = None,
    trees: Mapping[str, Trees] | None = None,
    blended: bool = True,
    inverses: Mapping[str, Inverse] | None = None,
    customers: NDArray | Sequence[Any] | None = None,
) -> str:
    """Calibrate a trained model and write its bundle; the bundle's digest. Arguments as `calibrate`, `save_bundle`."""
    calibration = calibrate(model, train, valid, trees=trees, blended=blended, inverses=inverses, customers=customers)
    return save_bundle(directory, model, calibration, classes, meta, described, trees)
