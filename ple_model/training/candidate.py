"""What stands around `fit`: a fresh model that knows its training rows' scales, and a finished one as a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ple_model.config import ModelConfig
from ple_model.evaluation.calibration import fit_calibrator
from ple_model.evaluation.uncertainty import COVERAGE, fit_uncertainty
from ple_model.experts.base import spread_rows
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.bundle import TaskCalibration, save_bundle
from ple_model.serving.inference import raw_outputs
from ple_model.training.data import TensorTable, derived_seed


def build(config: ModelConfig, train: TensorTable, seed: int) -> PLEClusterAdaTT:
    """A model with initial weights of a seed; bin edges, scales and brand frequencies from training rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        model = PLEClusterAdaTT(config)
    at_most = max([getattr(expert, "fit_rows", 0) for expert in config.experts], default=0)
    model.fit_inputs(train.batch(spread_rows(len(train), at_most), torch.device("cpu"))[0])
    for task in config.tasks:
        labels = train.targets.values[task.name][train.targets.mask[task.name]]
        if task.kind == "regression" and len(labels):
            std = labels.double().std(0, correction=0)
            model.set_target_scale(task.name, labels.double().mean(0), torch.where(std > 0, std, 1.0))
        elif task.kind == "contrastive":
            counts = torch.bincount(labels[labels >= 0], minlength=task.candidates or 0)
            model.table(task.name).set_frequency(counts)
    return model


def calibrate(
    model: PLEClusterAdaTT, train: TensorTable, valid: TensorTable, coverage: float = COVERAGE, seed: int = 0
) -> dict[str, TaskCalibration]:
    """Calibrators and thresholds from validation rows, base rates from training rows.

    The threshold is set over all validation rows, labelled or not, since every customer is scored.
    Raises ValueError for a task without a single training label.
    """
    found = raw_outputs(model, valid.inputs)
    raw = found.outputs
    posterior = train.inputs.cluster_probs.numpy()
    fitted = {}
    for task in model.config.tasks:
        labels, mask = valid.targets.values[task.name].numpy(), valid.targets.mask[task.name].numpy()
        calibrator = fit_calibrator(task.kind, raw[task.name], labels, mask, seed=seed)
        uncertainty = fit_uncertainty(
            calibrator,
            raw[task.name],
            train.targets.values[task.name].numpy(),
            train.targets.mask[task.name].numpy(),
            posterior,
            {"multiclass": task.out, "contrastive": task.candidates or 0}.get(task.kind, 1),
            coverage,
            found.u.get(task.name),
        )
        fitted[task.name] = TaskCalibration(calibrator, uncertainty)
    return fitted


def finish(
    model: PLEClusterAdaTT,
    train: TensorTable,
    valid: TensorTable,
    directory: Path,
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    units: Mapping[str, str] | None = None,
) -> str:
    """Calibrate a trained model and write its bundle; the bundle's digest. Arguments as `calibrate`, `save_bundle`."""
    return save_bundle(directory, model, calibrate(model, train, valid), classes, meta, units)
