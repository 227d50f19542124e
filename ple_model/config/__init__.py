"""Settings of the network. Every number of MODEL is a default here (tasks: `tasks.py`) and nowhere else.

Settings of training belong to `ple_model.training.config`.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel, nearest
from ple_model.config.experts import (
    DEFAULT_EXPERTS,
    BranchConfig,
    CausalConfig,
    DeepFMConfig,
    ExpertConfig,
    LightGCNConfig,
    LiquidBranchConfig,
    MambaBranchConfig,
    OptimalTransportConfig,
    PersLayConfig,
    RawScaleConfig,
    TemporalConfig,
    TransformerBranchConfig,
    UnifiedHGCNConfig,
)
from ple_model.config.inputs import DEFAULT_SIDES, InputConfig, SideConfig, SideName
from ple_model.config.network import (
    AdaTTConfig,
    AutoencoderConfig,
    AuxiliaryConfig,
    BasketConfig,
    EvidentialConfig,
    GateConfig,
    RoutingConfig,
    TowerConfig,
    TransferConfig,
    WeightingConfig,
)
from ple_model.tasks.config import (
    Relation,
    TaskConfig,
    active_relations,
    default_tasks,
    topological_levels,
)

__all__ = [
    "DEFAULT_EXPERTS",
    "DEFAULT_SIDES",
    "AdaTTConfig",
    "AutoencoderConfig",
    "AuxiliaryConfig",
    "BasketConfig",
    "BranchConfig",
    "CausalConfig",
    "ClosedModel",
    "DeepFMConfig",
    "EvidentialConfig",
    "ExpertConfig",
    "GateConfig",
    "InputConfig",
    "LightGCNConfig",
    "LiquidBranchConfig",
    "MambaBranchConfig",
    "ModelConfig",
    "NetworkConfig",
    "OptimalTransportConfig",
    "PersLayConfig",
    "RawScaleConfig",
    "Relation",
    "RoutingConfig",
    "SideConfig",
    "SideName",
    "TaskConfig",
    "TemporalConfig",
    "TowerConfig",
    "TransferConfig",
    "TransformerBranchConfig",
    "UnifiedHGCNConfig",
    "WeightingConfig",
]


class NetworkConfig(ClosedModel):
    """What does not depend on the data set. `experts` are the blocks of h_shared in order; leave one out to switch it
    off."""

    experts: tuple[ExpertConfig, ...] = Field(default=DEFAULT_EXPERTS, min_length=1)
    gate: GateConfig = GateConfig()
    routing: RoutingConfig = RoutingConfig()
    basket: BasketConfig = BasketConfig()
    transfer: TransferConfig = TransferConfig()
    tower: TowerConfig = TowerConfig()
    evidential: EvidentialConfig = EvidentialConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    weighting: WeightingConfig = WeightingConfig()
    adatt: AdaTTConfig = AdaTTConfig()


class ModelConfig(NetworkConfig):
    """The whole network for the inputs and tasks of a data set."""

    inputs: InputConfig
    tasks: tuple[TaskConfig, ...] = Field(default_factory=default_tasks, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        named = {"tasks": [t.name for t in self.tasks], "experts": [str(e.name) for e in self.experts]}
        for what, names in named.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        kept, _ = active_relations(self.transfer.relations, self.tasks)
        topological_levels([task.name for task in self.tasks], kept)
        return self

    def task(self, name: str) -> TaskConfig:
        """The task of that name. Raises KeyError that names the nearest one."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(f"no task {name!r} in this model; {nearest(name, [t.name for t in self.tasks])}")
