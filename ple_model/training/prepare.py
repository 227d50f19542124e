"""A network that is ready to train: seeded weights, and the scales that come from training rows."""

import torch

from ple_model.config import ModelConfig
from ple_model.model import PLEClusterAdaTT
from ple_model.training.data import TensorTable, derived_seed


def build_model(config: ModelConfig, train: TensorTable, seed: int) -> PLEClusterAdaTT:
    """Weights drawn from `seed`; bin edges, channel scales and the scales of regression labels from training rows.

    Raises
        ValueError: a regression task without two different training labels.
    """
    torch.manual_seed(derived_seed(seed, "weights"))
    model = PLEClusterAdaTT(config)
    model.fit_inputs(train.inputs)
    for task in config.tasks:
        if task.kind != "regression":
            continue
        labels = train.targets.values[task.name][train.targets.mask[task.name]].double()
        if len(labels) < 2 or float(labels.std()) == 0.0:
            raise ValueError(f"task {task.name}: {len(labels)} training labels without spread; switch the task off")
        model.set_target_scale(task.name, labels.mean(0), labels.std(0))
    return model
