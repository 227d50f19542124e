"""A trained network, calibrated and written as a bundle: the step behind `fit`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ple_model.boosting.boosted import Boosted
from ple_model.epochs import Network
from ple_model.evaluation.blending import Halves
from ple_model.evaluation.calibration import fit_calibrator
from ple_model.evaluation.calibration.natural import Inverse, fit_natural
from ple_model.evaluation.kind import Floats
from ple_model.evaluation.uncertainty import COVERAGE, fit_uncertainty
from ple_model.serving.blend import blend, tree_predictions
from ple_model.serving.bundle import TaskCalibration, save_bundle
from ple_model.serving.inference import EVIDENCE, RawOutputs, raw_outputs
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable


def calibrate(
    model: Network,
    train: TensorTable,
    valid: TensorTable,
    coverage: float = COVERAGE,
    seed: int = 0,
    trees: Mapping[str, Boosted] | None = None,
    blended: bool = True,
    inverses: Mapping[str, Inverse] | None = None,
) -> dict[str, TaskCalibration]:
    """Blend weights, calibrators, thresholds and maps to natural units from validation rows, base rates from training
    rows.

    With `trees` a task is a blend of network and trees with the weight that validation rows give; without `blended`
    every task is left to the network, and the trees are calibrated beside it.

    The threshold is set over all validation rows, labelled or not, since every customer is scored. `inverses`: task →
    the inverse of its label's scale, where that is not the natural one.

    Raises:
        ValueError: a task without a single training label.
    """
    alone, grown = raw_outputs(model, valid.inputs), tree_predictions(trees or {}, valid.inputs, model.config.inputs)
    halves = fit_halves(model, alone, trees or {}, grown, valid, seed, blended)
    raw = blend(alone, halves, grown, model.config.tasks)
    posterior = train.inputs.cluster_probs.numpy()
    fitted = {}
    for task in model.config.tasks:
        labels, mask = valid.targets.values[task.name].numpy(), valid.targets.mask[task.name].numpy()
        kind, outputs = kind_of(task), raw.outputs[task.name]
        calibrator = fit_calibrator(kind, outputs, labels, mask, seed=seed)
        uncertainty = fit_uncertainty(
            kind,
            calibrator,
            outputs,
            train.targets.values[task.name].numpy(),
            train.targets.mask[task.name].numpy(),
            posterior,
            kind.width(task),
            coverage,
            raw.signals[task.name].get(EVIDENCE),
        )
        natural = None
        if task.name in (inverses or {}):
            own = train.targets.values[task.name].numpy()[train.targets.mask[task.name].numpy()]
            natural = fit_natural(calibrator.apply(outputs[mask]), labels[mask], (inverses or {})[task.name], own)
        fitted[task.name] = TaskCalibration(calibrator, uncertainty, halves.get(task.name), natural)
    return fitted


def fit_halves(
    model: Network,
    raw: RawOutputs,
    trees: Mapping[str, Boosted],
    grown: Mapping[str, Floats],
    valid: TensorTable,
    seed: int,
    blended: bool,
) -> dict[str, Halves]:
    """Calibrators of both halves and the weight of their blend, of each task that has trees.

    Args:
        model: the network.
        raw: its raw outputs on the validation rows.
        trees: by task; a task that they predict by its constant is left to the network.
        grown: their predictions of the validation rows.
        valid: the validation rows.
        seed: of the calibrators.
        blended: False leaves every task to the network.
    """
    fitted = {}
    for task in model.config.tasks:
        if task.name in trees:
            labels, mask = valid.targets.values[task.name].numpy(), valid.targets.mask[task.name].numpy()
            worth = blended and len(trees[task.name].models) > 0
            fitted[task.name] = Halves.fit(
                kind_of(task), raw.outputs[task.name], grown[task.name], labels, mask, seed, worth
            )
    return fitted


def finish(
    model: Network,
    train: TensorTable,
    valid: TensorTable,
    directory: Path,
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]] | None = None,
    trees: Mapping[str, Boosted] | None = None,
    blended: bool = True,
    inverses: Mapping[str, Inverse] | None = None,
) -> str:
    """Calibrate a trained model and write its bundle; the bundle's digest. Arguments as `calibrate`, `save_bundle`."""
    calibration = calibrate(model, train, valid, trees=trees, blended=blended, inverses=inverses)
    return save_bundle(directory, model, calibration, classes, meta, described, trees)
