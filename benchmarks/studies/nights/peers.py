"""Other models on the same rows: the published multi-task networks, and libraries that fit one model a task.

All read what the version of the same settings reads, stop early on the same validation rows, and are calibrated on them
like the version's own halves. The libraries are an extra, `pip install -c constraints.txt -e '.[studies]'`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.libraries import library_of

if TYPE_CHECKING:
    from ple_model.boosting.fit import BoostingTask
    from ple_model.config import ModelConfig
    from ple_model.inputs import Inputs
    from ple_model.training.config import TrainingConfig
    from ple_model.training.data import TensorTable

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[np.float32]], Floats]


PUBLISHED = (
    *("single_task", "shared_bottom", "asymmetric", "customized", "cross_stitch", "sluice", "mmoe", "ml_mmoe"),
    *("cgc", "ple"),
)
"""The networks of `ple_model.baselines`; a test compares the names."""


# --- published networks -------------------------------------------------------------------------------------------
def published(
    name: str, config: ModelConfig, train: TensorTable, validation: TensorTable, training: TrainingConfig, seed: int
) -> tuple[Callable[[Inputs], dict[str, Floats]], int]:
    """Train a network of `ple_model.baselines` with the tasks, losses, repeat term and trainer of the version.

    Args:
        name: of the architecture.
        config: of the version's network.
        train: training rows.
        validation: rows that choose the epoch of each task.
        training: settings of the version's training.
        seed: of weights and shuffling.

    Returns:
        What predicts raw outputs of rows, before calibration; the network's parameters.
    """
    import torch

    from benchmarks.studies.training import parameters_of
    from ple_model.baselines import build_baseline
    from ple_model.config.baselines import BaselineConfig
    from ple_model.serving.inference import raw_outputs
    from ple_model.training.initial import fresh
    from ple_model.training.trainer import fit

    own: dict[str, Any] = {"name": name}
    if name == "asymmetric":
        own["relations"] = [relation.to_dict() for relation in config.transfer.relations]
    shared = {part: getattr(config, part).to_dict() for part in ("inputs", "repeat", "weighting")}
    tasks = [task.to_dict() for task in config.tasks]
    settings = BaselineConfig.from_dict({"architecture": own, "tasks": tasks, **shared})
    model = fresh(lambda: build_baseline(settings), settings.tasks, train, seed, settings.encoder.fit_rows)
    changed = training.model_copy(update={"seed": seed, "best_epoch": "network", "expert_rates": {}})
    with tempfile.TemporaryDirectory() as folder:
        result = fit(model, train, validation, changed, Path(folder))
    (epoch,) = set(result.epochs.values())
    model.load_state_dict(result.weights[epoch])

    def predict(inputs: Inputs) -> dict[str, Floats]:
        with torch.inference_mode():
            return {task: raw.astype(np.float64) for task, raw in raw_outputs(model.eval(), inputs).outputs.items()}

    return predict, parameters_of(model)


# --- libraries, one model a task ----------------------------------------------------------------------------------
def xgboost(kind: str, x: Rows, y: Labels, width: int, seed: int, threads: int) -> Predict:
    """XGBoost with histograms, a low rate and early stopping."""
    library = library_of("xgboost", "xgboost")
    classes = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
    own = {"num_class": width} if kind == "multiclass" else {}
    params = {"objective": classes[kind], "eta": 0.05, "max_depth": 6, "subsample": 0.8, "colsample_bytree": 0.3, **own}
    params |= {"min_child_weight": 20, "max_bin": 64, "tree_method": "hist", "nthread": threads, "seed": seed}
    first, second = (library.DMatrix(part, label) for part, label in zip(x, y, strict=True))
    rounds = max(50, 2_000 // (width if kind == "multiclass" else 1))
    fitted = library.train(
        params, first, rounds, evals=[(second, "validation")], early_stopping_rounds=30, verbose_eval=False
    )
    best = (0, fitted.best_iteration + 1)
    return lambda rows: np.asarray(fitted.predict(library.DMatrix(rows), iteration_range=best), dtype=np.float64)


def realmlp(kind: str, x: Rows, y: Labels, width: int, seed: int, threads: int) -> Predict:
    """RealMLP with its tuned defaults but for the epochs (Holzmüller et al. 2024, package pytabkit)."""
    return _tabkit("RealMLP_TD", {}, kind, x, y, width, seed, threads)


def tabm(kind: str, x: Rows, y: Labels, width: int, seed: int, threads: int) -> Predict:
    """TabM with its defaults but for epochs and members (Gorishniy et al. 2024, package tabm by pytabkit)."""
    return _tabkit("TabM_D", {"tabm_k": 8, "patience": 3}, kind, x, y, width, seed, threads)


Rows = tuple[NDArray[np.float32], NDArray[np.float32]]
Labels = tuple[NDArray, NDArray]
LIBRARIES: Mapping[str, Callable[..., Predict]] = {"xgboost": xgboost, "realmlp": realmlp, "tabm": tabm}
"""Name → fits one task: kind, features and labels of training and validation rows, width, seed, threads."""


def library(
    name: str, matrix: NDArray[np.float32], is_train: NDArray[np.bool_], tasks: Mapping[str, BoostingTask], seed: int
) -> dict[str, Predict]:
    """Fit every task whose kind the libraries have (not brands): task → predicts rows of the matrix' columns.

    Args:
        name: of `LIBRARIES`.
        matrix: features [n, c] of training and validation rows, NaN where missing.
        is_train: [n].
        tasks: labels and masks over the same rows.
        seed: of the fit.

    Raises:
        PeerError: the package is not installed.
    """
    import torch

    fitted = {}
    for task, given in tasks.items():
        if given.kind.name in ("binary", "multiclass", "regression"):
            rows = [np.flatnonzero(given.mask & part) for part in (is_train, ~is_train)]
            x, y = tuple(matrix[part] for part in rows), tuple(given.labels[part] for part in rows)
            fitted[task] = LIBRARIES[name](given.kind.name, x, y, given.width, seed, torch.get_num_threads())
    return fitted


EPOCHS = 12
"""Of the libraries' networks. Their own 256 and more, for every task by itself, are made for a GPU and would take hours
a cell on two cores. The version's network has five epochs for all tasks together."""


def _tabkit(
    model: str, own: Mapping[str, Any], kind: str, x: Rows, y: Labels, width: int, seed: int, threads: int
) -> Predict:
    package = library_of("pytabkit", "pytabkit")
    ending = "Regressor" if kind == "regression" else "Classifier"
    metric = {} if kind == "regression" else {"val_metric_name": "cross_entropy"}
    settings = {"random_state": seed, "n_threads": threads, "device": "cpu", "verbosity": 0, "n_epochs": EPOCHS}
    fitted = getattr(package, f"{model}_{ending}")(**settings, **metric, **own)
    middle = np.nanmedian(x[0], axis=0)  # neither takes missing numbers
    middle = np.where(np.isfinite(middle), middle, 0.0).astype(np.float32)

    def filled(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.isfinite(rows), rows, middle)

    both, labels = filled(np.concatenate(x)), np.concatenate(y)
    fitted.fit(both, labels, val_idxs=np.arange(len(x[0]), len(both)))
    if kind == "regression":
        return lambda rows: np.asarray(fitted.predict(filled(rows)), dtype=np.float64)
    known = fitted.classes_.astype(int)

    def chances(rows: NDArray[np.float32]) -> Floats:
        told = np.asarray(fitted.predict_proba(filled(rows)), dtype=np.float64)
        if kind == "binary":
            return told[:, 1]
        out = np.zeros((len(rows), width))  # a class without a training row has none of its own
        out[:, known] = told
        return out

    return chances
