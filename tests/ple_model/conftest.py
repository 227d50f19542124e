"""A small data set's worth of random inputs and labels for the model's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import random_rows
import torch

from ple_model.config import (
    AdaTTConfig,
    CausalConfig,
    ClassTermConfig,
    DeepFMConfig,
    InputConfig,
    LightGCNConfig,
    LinearTermConfig,
    LiquidBranchConfig,
    MambaBranchConfig,
    ModelConfig,
    OptimalTransportConfig,
    PersLayConfig,
    RawScaleConfig,
    RepeatConfig,
    SideConfig,
    TaskConfig,
    TaskExpertsConfig,
    TemporalConfig,
    TransferConfig,
    TransformerBranchConfig,
    UnifiedHGCNConfig,
    WideConfig,
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
    SideConfig(name="brand_history", shape=(3, 4), masked=True),
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
    """All 16 default tasks, 20 brands with a history, all nine experts, smaller than they are by default; adaTT
    without warm-up."""
    branches = (
        MambaBranchConfig(model_width=16, layers=1, state=8),
        LiquidBranchConfig(model_width=16, backbone=16),
        TransformerBranchConfig(model_width=16, layers=1, feedforward=16),
    )
    tasks = select([t.name for t in default_tasks()], {"brand_prediction": 20})
    own: dict[str, dict[str, object]] = {
        "brand_prediction": {"history": (7, -1, 19, 0)},
        "channel": {"by_class": ((0, 2), (1, -1), (-1, -1)), "columns": (1, 2)},
        "churn": {"columns": (0, 8, 9)},
    }
    return ModelConfig(
        inputs=input_config,
        tasks=[task.model_copy(update=own.get(task.name, {})) for task in tasks],
        experts=(
            UnifiedHGCNConfig(width=32, hidden=(16,)),
            PersLayConfig(width=16, points=8, hidden=(16,)),
            DeepFMConfig(width=16),
            TemporalConfig(width=16, branches=branches, hidden=(32,)),
            LightGCNConfig(width=16, hidden=(16,)),
            CausalConfig(width=16, variables=6, encoding=8),
            OptimalTransportConfig(width=16, support=12, prototypes=5, dimension=4, hidden=(16,)),
            RawScaleConfig(width=16, hidden=(16,)),
            WideConfig(width=16, hidden=(16,), flags=4),
        ),
        transfer=TransferConfig(relations=RELATIONS),
        repeat=RepeatConfig(enabled=True),
        linear=LinearTermConfig(enabled=True),
        classes=ClassTermConfig(enabled=True),
        task_experts=TaskExpertsConfig(enabled=True, hidden=8, closed=0.3),
        adatt=AdaTTConfig(warmup_epochs=0, freeze_epoch=5),
    )


@pytest.fixture
def make_inputs(input_config: InputConfig) -> Callable[..., Inputs]:
    def make(rows: int = ROWS, config: InputConfig = input_config) -> Inputs:
        return random_rows.inputs(config, rows)

    return make


@pytest.fixture
def make_targets() -> Callable[..., Targets]:
    def make(tasks: tuple[TaskConfig, ...], rows: int = ROWS, share: float = 0.7) -> Targets:
        return random_rows.targets(tasks, rows, share)

    return make
