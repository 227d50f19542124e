"""A fresh network that knows the scales of its training rows, ready for `fit`."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from ple_model.config import ModelConfig, TaskConfig
from ple_model.experts.base import spread_rows
from ple_model.model import PLEClusterAdaTT
from ple_model.multitask import MultiTaskNetwork
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable, derived_seed

Fresh = TypeVar("Fresh", bound=MultiTaskNetwork)


def build(config: ModelConfig, train: TensorTable, seed: int) -> PLEClusterAdaTT:
    """A model with initial weights of a seed; bin edges, scales and brand frequencies from training rows.

    Args:
        config: of the model.
        train: training rows.
        seed: of the initial weights.
    """
    at_most = max([getattr(expert, "fit_rows", 0) for expert in config.experts], default=0)
    return fresh(lambda: PLEClusterAdaTT(config), config.tasks, train, seed, at_most)


def fresh(make: Callable[[], Fresh], tasks: Sequence[TaskConfig], train: TensorTable, seed: int, at_most: int) -> Fresh:
    """Any network for these tasks, as `build` has it.

    Args:
        make: builds it.
        tasks: of the network.
        train: training rows.
        seed: of the initial weights.
        at_most: rows that bin edges and scales are taken from.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initial weights"))
        model = make()
    model.fit_inputs(train.batch(spread_rows(len(train), at_most), torch.device("cpu"))[0])
    for task in tasks:
        labels = train.targets.values[task.name][train.targets.mask[task.name]]
        kind_of(task).fit_units(task, labels, model)
    return model
