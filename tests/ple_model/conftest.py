"""A small data set's worth of random inputs and labels for the model's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ple_model.config import (
    AdaTTConfig,
    CausalConfig,
    DeepFMConfig,
    InputConfig,
    LightGCNConfig,
    LiquidBranchConfig,
    MambaBranchConfig,
    ModelConfig,
    OptimalTransportConfig,
    PersLayConfig,
    RawScaleConfig,
    SideConfig,
    TaskConfig,
    TemporalConfig,
    TransferConfig,
    TransformerBranchConfig,
    UnifiedHGCNConfig,
)
from ple_model.inputs import Inputs, Targets
from tests.ple_model.catalogue import RELATIONS, default_tasks, select

ROWS = 48


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> None:
    """Batches here are tiny: more threads would only wait for each other, and for those of other test workers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


SIDES = (
    SideConfig(name="hierarchy", shape=(20,)),
    SideConfig(name="tda_short", shape=(9, 3), masked=True),
    SideConfig(name="tda_long", shape=(8, 3), masked=True),
    SideConfig(name="tda_global", shape=(6,)),
    SideConfig(name="hmm_journey", shape=(7,)),
    SideConfig(name="hmm_lifecycle", shape=(7,)),
    SideConfig(name="hmm_behavior", shape=(7,)),
    SideConfig(name="txn_seq", shape=(30, 4), masked=True, channels=(0, 1, 3)),
    SideConfig(name="session_seq", shape=(20, 3), masked=True),
    SideConfig(name="collaborative", shape=(10,)),
    SideConfig(name="segment", shape=(1,)),
    SideConfig(name="coldstart", shape=(5,)),
    SideConfig(name="anonymous", shape=(4,)),
)
COLUMNS = (
    *("base__a", "base__b", "merchant__a", "epidemic__contact_rate", "tda_long__a", "tda_short__a"),
    *("phase_transition__a", "base__c"),
    *(f"raw_power_law__{i}" for i in range(4)),
)


@pytest.fixture
def input_config() -> InputConfig:
    """12 columns, 9 of them present; every side input in a small shape, `txn_seq` with 3 of 4 channels."""
    return InputConfig(columns=COLUMNS, present=(0, 1, 2, 3, 5, 6, 8, 9, 11), normalised=8, clusters=5, sides=SIDES)


@pytest.fixture
def model_config(input_config: InputConfig) -> ModelConfig:
    """All 16 default tasks, 20 brands, all eight experts, smaller than they are by default; adaTT without warm-up."""
    branches = (
        MambaBranchConfig(model_width=16, layers=1, state=8),
        LiquidBranchConfig(model_width=16, backbone=16),
        TransformerBranchConfig(model_width=16, layers=1, feedforward=16),
    )
    return ModelConfig(
        inputs=input_config,
        tasks=select([t.name for t in default_tasks()], {"brand_prediction": 20}),
        experts=(
            UnifiedHGCNConfig(width=32, hidden=(16,)),
            PersLayConfig(width=16, points=8, hidden=(16,)),
            DeepFMConfig(width=16),
            TemporalConfig(width=16, branches=branches, hidden=(32,)),
            LightGCNConfig(width=16, hidden=(16,)),
            CausalConfig(width=16, variables=6, encoding=8),
            OptimalTransportConfig(width=16, support=12, prototypes=5, dimension=4, hidden=(16,)),
            RawScaleConfig(width=16, hidden=(16,)),
        ),
        transfer=TransferConfig(relations=RELATIONS),
        adatt=AdaTTConfig(warmup_epochs=0, freeze_epoch=5),
    )


def _side(side: SideConfig, rows: int, generator: torch.Generator) -> torch.Tensor:
    """Values of the kind that the side input has."""
    values = torch.randn(rows, *side.shape, generator=generator)
    if side.name == "hierarchy":  # inside of the ball
        return 0.3 * values.tanh()
    if side.name == "segment":
        return torch.randint(0, 3, (rows, 1), generator=generator).float()
    if side.name in ("tda_short", "tda_long"):
        birth = values[..., 0].abs()
        dimensions = 3 if side.name == "tda_long" else 2
        dimension = torch.randint(0, dimensions, birth.shape, generator=generator)
        return torch.stack([birth, birth + values[..., 1].abs(), dimension.float()], dim=-1)
    return values


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
        sides = {side.name: _side(side, rows, generator) for side in config.sides}
        masks = {}
        for side in config.sides:
            if side.masked:  # the last places are valid: at least one of them
                first = torch.randint(0, side.shape[0], (rows, 1), generator=generator)
                masks[side.name] = torch.arange(side.shape[0]) >= first
        return Inputs(
            features=torch.where(mask, features, 0.0),
            features_mask=mask,
            cluster_probs=torch.rand(rows, config.clusters, generator=generator).softmax(-1),
            sides=sides,
            masks=masks,
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
