"""A trained network, calibrated and written as a bundle: the step behind `fit`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.bootstrap import RESAMPLES
from ple_model.evaluation.calibration import fit_calibrator
from ple_model.evaluation.uncertainty import COVERAGE, BaseRates, Validation, fit_uncertainty
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.bundle import TaskCalibration, save_bundle
from ple_model.serving.columns import MISSING, error_columns, missing_share
from ple_model.serving.inference import raw_outputs
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable


def calibrate(
    model: PLEClusterAdaTT,
    train: TensorTable,
    valid: TensorTable,
    customers: NDArray | Sequence[Any] | None = None,
    *,
    coverage: float = COVERAGE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, TaskCalibration]:
    """Calibrators, uncertainties and regions from validation rows, base rates from training rows.

    Args:
        model: trained.
        train: training rows.
        valid: validation rows.
        customers: [R] ids of the validation rows; without them each row counts as a customer of its own.
        coverage: least share of validation rows that keep their own prediction; it is set over all of them, labelled or
            not, since every customer is scored.
        resamples: of the intervals.
        seed: splits the validation customers and draws the resamples.

    Raises:
        ValueError: a task without a single training label.
    """
    raw = raw_outputs(model, valid.inputs)
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
        fitted[task.name] = TaskCalibration(calibrator, uncertainty)
    return fitted


def finish(
    model: PLEClusterAdaTT,
    train: TensorTable,
    valid: TensorTable,
    directory: Path,
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]] | None = None,
    customers: NDArray | Sequence[Any] | None = None,
) -> str:
    """Calibrate a trained model and write its bundle; the bundle's digest. Arguments as `calibrate`, `save_bundle`."""
    return save_bundle(directory, model, calibrate(model, train, valid, customers), classes, meta, described)
