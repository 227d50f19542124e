"""The pool of shared experts: one file an expert, and the registry from name to class, to which a plug-in can add.

An expert reads inputs and returns a block of h_shared; nothing here knows a task, a loss or a gate. Settings are in
`ple_model.config.experts`.
"""

from __future__ import annotations

import warnings

from torch import nn

from ple_model.config import ExpertConfig, ModelConfig
from ple_model.config.pool import add_to_pool
from ple_model.experts.base import Expert, ExpertOutput
from ple_model.experts.causal import Causal
from ple_model.experts.deepfm import DeepFM
from ple_model.experts.lightgcn import LightGCN
from ple_model.experts.optimal_transport import OptimalTransport
from ple_model.experts.perslay import PersLay
from ple_model.experts.raw_scale import RawScale
from ple_model.experts.temporal import Temporal
from ple_model.experts.unified_hgcn import UnifiedHGCN
from ple_model.experts.wide import Wide

__all__ = ["REGISTRY", "Expert", "ExpertOutput", "build_experts", "register"]

REGISTRY: dict[str, type[Expert]] = {
    expert.name: expert
    for expert in (UnifiedHGCN, PersLay, DeepFM, Temporal, LightGCN, Causal, OptimalTransport, RawScale, Wide)
}


def register(config_class: type[ExpertConfig], expert_class: type[Expert]) -> None:
    """Add a type of expert: from then on a configuration may list its settings by name.

    Registering the same two classes again changes nothing.

    Args:
        config_class: its settings; `name` has the expert's name as default.
        expert_class: built as `expert_class(settings, inputs)`.

    Raises:
        ValueError: the two names differ, or one of them belongs to another expert.
    """
    name = expert_class.name
    if (configured := config_class.model_fields["name"].default) != name:
        raise ValueError(f"{config_class.__name__} is named {configured!r}, its expert {name!r}")
    if REGISTRY.get(name, expert_class) is not expert_class:
        raise ValueError(f"an expert named {name!r} exists already: {REGISTRY[name].__name__}")
    add_to_pool(config_class)
    REGISTRY[name] = expert_class


def build_experts(config: ModelConfig) -> nn.ModuleDict:
    """Name → expert in the order of the configuration.

    An expert whose input the data set does not deliver is left out with a warning.

    Raises:
        ValueError: no expert is left.
    """
    built: dict[str, nn.Module] = {}
    for settings in config.experts:
        expert = REGISTRY[settings.name]
        if expert.available(config.inputs):
            own = {"members": config.members} if expert.has_members else {}
            built[settings.name] = expert(settings, config.inputs, **own)
        else:
            warnings.warn(f"expert {expert.name} left out: the data set has no {expert.reads} for it", stacklevel=2)
    if not built:
        raise ValueError("no expert is left: the data set delivers the input of none that is switched on")
    return nn.ModuleDict(built)
