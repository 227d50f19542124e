"""The pool of shared experts: a registry from name to class. One file an expert; nothing here knows a task."""

from __future__ import annotations

import warnings

from torch import nn

from ple_model.config import ModelConfig
from ple_model.experts.base import Expert, ExpertOutput
from ple_model.experts.causal import Causal
from ple_model.experts.deepfm import DeepFM
from ple_model.experts.lightgcn import LightGCN
from ple_model.experts.optimal_transport import OptimalTransport
from ple_model.experts.perslay import PersLay
from ple_model.experts.raw_scale import RawScale
from ple_model.experts.temporal import Temporal
from ple_model.experts.unified_hgcn import UnifiedHGCN

__all__ = ["REGISTRY", "Expert", "ExpertOutput", "build_experts"]

REGISTRY: dict[str, type[Expert]] = {
    expert.name: expert
    for expert in (UnifiedHGCN, PersLay, DeepFM, Temporal, LightGCN, Causal, OptimalTransport, RawScale)
}


def build_experts(config: ModelConfig) -> nn.ModuleDict:
    """Name → expert in the order of the configuration.

    An expert whose input the data set does not deliver is left out with a warning. Raises ValueError if none is left.
    """
    built: dict[str, nn.Module] = {}
    for settings in config.experts:
        expert = REGISTRY[settings.name]
        if expert.available(config.inputs):
            built[settings.name] = expert(settings, config.inputs)
        else:
            warnings.warn(f"expert {expert.name} left out: the data set has no {expert.reads} for it", stacklevel=2)
    if not built:
        raise ValueError("no expert is left: the data set delivers the input of none that is switched on")
    return nn.ModuleDict(built)
