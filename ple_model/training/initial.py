"""A fresh network that knows the scales of its training rows, ready for `fit`."""

import torch

from ple_model.config import ModelConfig
from ple_model.experts.base import spread_rows
from ple_model.model import PLEClusterAdaTT
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable, derived_seed


def build(config: ModelConfig, train: TensorTable, seed: int) -> PLEClusterAdaTT:
    """A model with initial weights of a seed; bin edges, scales and brand frequencies from training rows.

    Args:
        config: of the model.
        train: training rows.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        model = PLEClusterAdaTT(config)
    at_most = max([getattr(expert, "fit_rows", 0) for expert in config.experts], default=0)
    model.fit_inputs(train.batch(spread_rows(len(train), at_most), torch.device("cpu"))[0])
    for task in config.tasks:
        labels = train.targets.values[task.name][train.targets.mask[task.name]]
        kind_of(task).fit_units(task, labels, model)
    return model
