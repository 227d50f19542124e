"""A trained network, calibrated and written as a bundle: the step behind `fit`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ple_model.epochs import Network
from ple_model.evaluation.calibration import fit_calibrator
from ple_model.evaluation.uncertainty import COVERAGE, fit_uncertainty
from ple_model.serving.bundle import TaskCalibration, save_bundle
from ple_model.serving.inference import EVIDENCE, raw_outputs
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable


def calibrate(
    model: Network, train: TensorTable, valid: TensorTable, coverage: float = COVERAGE, seed: int = 0
) -> dict[str, TaskCalibration]:
    """Calibrators and thresholds from validation rows, base rates from training rows.

    The threshold is set over all validation rows, labelled or not, since every customer is scored.

    Raises:
        ValueError: a task without a single training label.
    """
    raw = raw_outputs(model, valid.inputs)
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
        fitted[task.name] = TaskCalibration(calibrator, uncertainty)
    return fitted


def finish(
    model: Network,
    train: TensorTable,
    valid: TensorTable,
    directory: Path,
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Calibrate a trained model and write its bundle; the bundle's digest. Arguments as `calibrate`, `save_bundle`."""
    return save_bundle(directory, model, calibrate(model, train, valid), classes, meta, described)
