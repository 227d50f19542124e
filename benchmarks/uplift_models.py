"""The two models of `benchmarks/uplift.py`: the network with the two uplift tasks, and boosted trees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from feature_assets.labels import get_task
from feature_assets.simulation.config import CATEGORIES
from ple_model.boosting.budget import BoostingBudget, TreeBudget
from ple_model.boosting.fit import BoostingTask, fit_all
from ple_model.boosting.matrix import BinnedMatrix
from ple_model.config import (
    AdaTTConfig,
    AutoencoderConfig,
    DeepFMConfig,
    EvidentialConfig,
    InputConfig,
    ModelConfig,
    TaskConfig,
    TransferConfig,
)
from ple_model.inputs import Inputs
from ple_model.serving.inference import raw_outputs
from ple_model.tasks import kind_of
from ple_model.training.config import TrainingConfig
from ple_model.training.data import TensorTable, targets_from_frame
from ple_model.training.initial import build
from ple_model.training.trainer import fit

CLUSTERS = 20
TREES = BoostingBudget(
    single=TreeBudget(rounds=60, early_stopping=60, learning_rate=0.05, leaves=2, min_leaf_rows=2_000, l2=10.0)
)
"""Stumps, few of them: a transformed outcome is nearly all noise, and deeper trees learn that."""


def tasks(names: Sequence[str]) -> tuple[TaskConfig, ...]:
    """The model's settings of the tasks."""
    return tuple(TaskConfig.from_dict(get_task(name).for_model(len(CATEGORIES))) for name in names)


def trained(
    features: Sequence[pl.DataFrame],
    train: pl.DataFrame,
    valid: pl.DataFrame,
    names: Sequence[str],
    seed: int,
    epochs: int,
    tell: Callable[[str], None],
) -> dict[str, NDArray]:
    """Task → predictions of the network for the last of the three parts (training, validation, test).

    One expert: with the causal and the optimal-transport expert beside it, category_uplift learns more noise.
    """
    columns = tuple(features[0].columns)
    inputs = InputConfig(
        columns=columns, present=tuple(range(len(columns))), normalised=len(columns), clusters=CLUSTERS, sides=()
    )
    config = ModelConfig(
        inputs=inputs,
        tasks=tasks(names),
        experts=(DeepFMConfig(),),
        transfer=TransferConfig(relations=()),
        evidential=EvidentialConfig(enabled=False),
        autoencoder=AutoencoderConfig(enabled=False),
        adatt=AdaTTConfig(enabled=False),
    )
    tables = [
        TensorTable.of(as_inputs(frame), targets_from_frame(labels, config.tasks))
        for frame, labels in zip(features, (train, valid), strict=False)
    ]
    model = build(config, tables[0], seed)
    settings = TrainingConfig(
        phase1_epochs=epochs, phase2_epochs=0, warmup_epochs=1, restart_epochs=epochs, patience=epochs, seed=seed
    )
    fit(model, *tables, settings, on_epoch=lambda report: tell(f"network: epoch {report.epoch}"), progress=False)
    return {
        name: values.astype(np.float64) for name, values in raw_outputs(model, as_inputs(features[2])).outputs.items()
    }


def as_inputs(frame: pl.DataFrame) -> Inputs:
    """Flat columns, and no cluster more likely than another."""
    values = torch.from_numpy(frame.select(pl.all().cast(pl.Float32).fill_null(np.nan)).to_numpy().copy())
    given = ~values.isnan()
    return Inputs(values.nan_to_num(0.0), given, torch.full((len(values), CLUSTERS), 1 / CLUSTERS))


def boosted(
    features: Sequence[pl.DataFrame],
    train: pl.DataFrame,
    valid: pl.DataFrame,
    names: Sequence[str],
    seed: int,
    workers: int,
) -> dict[str, NDArray]:
    """Task → predictions of boosted trees on the transformed outcome, for the last of the three parts."""
    arrays = [frame.select(pl.all().cast(pl.Float32).fill_null(np.nan)).to_numpy() for frame in features]
    rows = np.concatenate(arrays[:2])
    is_train = np.arange(len(rows)) < len(arrays[0])
    budget = TREES.model_copy(update={"workers": workers})
    matrix = BinnedMatrix(rows, is_train, ~is_train, budget.max_bin)
    labels = pl.concat([train.select(names), valid.select(names)])
    wanted = {}
    for task in tasks(names):
        values, mask = kind_of(task).targets(task, labels[task.name])
        wanted[task.name] = BoostingTask(kind_of(task), values, mask, task.out)
    return {name: model.predict(arrays[2]) for name, model in fit_all(matrix, wanted, budget, seed).items()}
