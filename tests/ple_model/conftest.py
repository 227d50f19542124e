"""A small data set's worth of random inputs and labels for the model's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ple_model.config import InputConfig, ModelConfig, TaskConfig
from ple_model.inputs import Inputs, Targets
from ple_model.tasks import default_tasks, select

ROWS = 48


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    """Batches here are tiny: more threads would only wait for each other, and for those of other test workers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def input_config() -> InputConfig:
    """12 columns, 9 of them present; 30 days of 4 channels, 3 of them present."""
    return InputConfig(
        columns=tuple(f"c{i}" for i in range(12)),
        present=(0, 1, 2, 3, 5, 6, 8, 9, 11),
        normalised=8,
        clusters=5,
        seq_steps=30,
        seq_width=4,
        seq_channels=(0, 1, 3),
    )


@pytest.fixture
def model_config(input_config: InputConfig) -> ModelConfig:
    """All 16 default tasks, 20 brands."""
    return ModelConfig(inputs=input_config, tasks=select([t.name for t in default_tasks()], {"brand_prediction": 20}))


@pytest.fixture
def make_inputs(input_config: InputConfig) -> Callable[..., Inputs]:
    def make(rows: int = ROWS, config: InputConfig = input_config) -> Inputs:
        generator = torch.Generator().manual_seed(1)
        mask = torch.zeros(rows, len(config.columns), dtype=torch.bool)
        mask[:, list(config.present)] = torch.rand(rows, len(config.present), generator=generator) > 0.2
        mask[:, config.present[0]] = True
        mask[:, config.present[-1]] = True
        features = torch.randn(mask.shape, generator=generator)
        features[:, config.normalised :] = features[:, config.normalised :].mul(2).exp()
        days = torch.arange(config.seq_steps)
        joined = torch.randint(0, config.seq_steps - 1, (rows, 1), generator=generator)
        return Inputs(
            features=torch.where(mask, features, 0.0),
            features_mask=mask,
            cluster_probs=torch.rand(rows, config.clusters, generator=generator).softmax(-1),
            txn_seq=torch.randn(rows, config.seq_steps, config.seq_width, generator=generator),
            txn_seq_mask=days >= joined,
        )

    return make


@pytest.fixture
def make_targets() -> Callable[..., Targets]:
    def make(tasks: tuple[TaskConfig, ...], rows: int = ROWS, share: float = 0.7) -> Targets:
        generator = torch.Generator().manual_seed(2)
        values: dict[str, Any] = {}
        for task in tasks:
            if task.kind == "binary":
                values[task.name] = torch.randint(0, 2, (rows,), generator=generator).float()
            elif task.kind == "multiclass":
                values[task.name] = torch.randint(0, task.out, (rows,), generator=generator)
            elif task.kind == "regression":
                values[task.name] = torch.randn(rows, generator=generator)
            else:
                count = task.candidates or 0
                order = torch.rand(rows, count, generator=generator).argsort(1)[:, :4]
                values[task.name] = torch.where(torch.arange(4) < 1 + order[:, :1] % 4, order, -1)
        mask = {name: torch.rand(rows, generator=generator) < share for name in values}
        return Targets(values, mask)

    return make
