"""Settings of the network: every number of MODEL is a default here and nowhere else.

Settings of a task belong to `ple_model.tasks`, those of a training run to `ple_model.training.config`; nothing here
imports torch.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel
from ple_model.config.experts import (
    DEFAULT_EXPERTS,
    BranchConfig,
    CausalConfig,
    DeepFMConfig,
    LightGCNConfig,
    LiquidBranchConfig,
    MambaBranchConfig,
    OptimalTransportConfig,
    PersLayConfig,
    RawScaleConfig,
    TemporalConfig,
    TransformerBranchConfig,
    UnifiedHGCNConfig,
    WideConfig,
)
from ple_model.config.inputs import DEFAULT_SIDES, HISTORIES, InputConfig, SideConfig, SideName
from ple_model.config.network import (
    AdaTTConfig,
    AutoencoderConfig,
    AuxiliaryConfig,
    BasketConfig,
    ClassTermConfig,
    EvidentialConfig,
    GateConfig,
    LinearTermConfig,
    RepeatConfig,
    RoutingConfig,
    TaskExpertsConfig,
    TowerConfig,
    TransferConfig,
    WeightingConfig,
)
from ple_model.config.pool import AnyExpert, ExpertConfig, check_preferences
from ple_model.tasks.config import Relation, TaskConfig, named_once, task_of
from ple_model.tasks.relations import active_relations, topological_levels

__all__ = [
    "DEFAULT_EXPERTS",
    "DEFAULT_SIDES",
    "HISTORIES",
    "AdaTTConfig",
    "AutoencoderConfig",
    "AuxiliaryConfig",
    "BasketConfig",
    "BranchConfig",
    "CausalConfig",
    "ClassTermConfig",
    "ClosedModel",
    "DeepFMConfig",
    "EvidentialConfig",
    "ExpertConfig",
    "GateConfig",
    "InputConfig",
    "LightGCNConfig",
    "LinearTermConfig",
    "LiquidBranchConfig",
    "MambaBranchConfig",
    "ModelConfig",
    "NetworkConfig",
    "OptimalTransportConfig",
    "PersLayConfig",
    "RawScaleConfig",
    "Relation",
    "RepeatConfig",
    "RoutingConfig",
    "SideConfig",
    "SideName",
    "TaskConfig",
    "TaskExpertsConfig",
    "TemporalConfig",
    "TowerConfig",
    "TransferConfig",
    "TransformerBranchConfig",
    "UnifiedHGCNConfig",
    "WeightingConfig",
    "WideConfig",
]


class NetworkConfig(ClosedModel):
    """The settings that do not depend on the data set. `experts` are the blocks of h_shared in order; leave one out to
    switch it off. `members`: networks that share all matrices but those of the towers' last layers (MODEL §16)."""

    experts: tuple[AnyExpert, ...] = Field(default=DEFAULT_EXPERTS, min_length=1)
    members: int = Field(default=1, ge=1)
    gate: GateConfig = GateConfig()
    routing: RoutingConfig = RoutingConfig()
    basket: BasketConfig = BasketConfig()
    transfer: TransferConfig = TransferConfig()
    tower: TowerConfig = TowerConfig()
    repeat: RepeatConfig = RepeatConfig()
    linear: LinearTermConfig = LinearTermConfig()
    classes: ClassTermConfig = ClassTermConfig()
    task_experts: TaskExpertsConfig = TaskExpertsConfig()
    evidential: EvidentialConfig = EvidentialConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    weighting: WeightingConfig = WeightingConfig()
    adatt: AdaTTConfig = AdaTTConfig()


class ModelConfig(NetworkConfig):
    """The whole network for the inputs and tasks of a data set."""

    inputs: InputConfig
    tasks: tuple[TaskConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        named_once((task.name for task in self.tasks), "tasks")
        named_once((expert.name for expert in self.experts), "experts")
        check_preferences(self.tasks)
        kept, _ = active_relations(self.transfer.relations, self.tasks)
        topological_levels([task.name for task in self.tasks], kept)
        for task in self.tasks:
            for name, named in (("by_class", {-1}.union(*task.by_class)), ("columns", {*task.columns})):
                if absent := sorted(named - {-1, *self.inputs.present}):
                    raise ValueError(f"task {task.name!r}: {name} names columns {absent}, which are not present")
        return self

    def task(self, name: str) -> TaskConfig:
        """The task of that name. Raises KeyError that names the nearest one."""
        return task_of(self.tasks, name, "model")
