"""Baselines with mixtures of experts: MMoE, its multi-level form, CGC, and PLE as a stack of extraction layers.

Sources: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts" (KDD 2018),
eq. 6–7; Tang et al. (2020), eq. 1–6. MMoE is a CGC layer without experts of a task's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ple_model.baselines.cgc_layer import CGCLayer
from ple_model.baselines.stacked import FannedMLP, Mixed, StackedMLP, Trunk
from ple_model.config import TaskConfig
from ple_model.config.baselines import CGCConfig, MLMMoEConfig, MMoEConfig, PLEConfig


def specific_and_shared(tasks: Sequence[TaskConfig], specific: int, shared: int) -> tuple[str, ...]:
    """Names of a CGC layer's experts in its order."""
    own = [f"{task.name}_{i}" for task in tasks for i in range(specific)]
    return (*own, *(f"shared_{i}" for i in range(shared)))


class MMoE(Trunk):
    """h_k = Σ_i g_k(x)_i f_i(x), g_k = softmax(W_k x)."""

    def __init__(self, config: MMoEConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.expert_names = config.hidden[-1], specific_and_shared(tasks, 0, config.experts)
        self.layer = CGCLayer(len(tasks), width, config.hidden, 0, config.experts, config.dropout)

    def forward(self, x: Tensor) -> Mixed:
        mixed, gates = self.layer(x)
        return Mixed(mixed.transpose(0, 1), gates)

    def gate_parameters(self) -> list[nn.Parameter]:
        return self.layer.gate_parameters()


class MLMMoE(Trunk):
    """MMoE over levels, all experts shared by all tasks.

    Tang et al. name it without equations; read here as fully connected levels: expert j above the first level reads
    Σ_i g_j(x)_i e_i over all experts of the level below, and a task the same over the last level. Every gate reads x.
    """

    def __init__(self, config: MLMMoEConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.experts = config.hidden[-1], config.experts
        self.expert_names = specific_and_shared(tasks, 0, config.experts)
        self.first = FannedMLP(config.experts, width, config.hidden, config.dropout)
        self.upper = nn.ModuleList(
            StackedMLP(config.experts, config.hidden[-1], config.hidden, config.dropout)
            for _ in range(config.levels - 1)
        )
        self.readers = [config.experts] * (config.levels - 1) + [len(tasks)]
        self.gates = nn.Linear(width, sum(self.readers) * config.experts)  # all gates of all levels in one product

    def forward(self, x: Tensor) -> Mixed:
        logits = self.gates(x).float().unflatten(1, (-1, self.experts)).softmax(-1)
        gates = logits.split(self.readers, dim=1)
        outputs = self.first(x)  # [B, E, h]
        for gate, experts in zip(gates, self.upper, strict=False):
            read = torch.bmm(gate.to(outputs.dtype), outputs)
            outputs = experts(read.transpose(0, 1)).transpose(0, 1)
        return Mixed(torch.bmm(gates[-1].to(outputs.dtype), outputs).transpose(0, 1), gates[-1])

    def gate_parameters(self) -> list[nn.Parameter]:
        return list(self.gates.parameters())


class PLE(Trunk):
    """Extraction layers, each a CGC layer with a shared gate but the last, which has none. The first takes its input in
    parts as well (`CGCLayer`)."""

    def __init__(self, config: PLEConfig | CGCConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width = config.hidden[-1]
        self.expert_names = specific_and_shared(tasks, config.specific, config.shared)
        levels = config.levels if isinstance(config, PLEConfig) else 1
        self.layers = nn.ModuleList(
            CGCLayer(
                len(tasks),
                self.width if level else width,
                config.hidden,
                config.specific,
                config.shared,
                config.dropout,
                streams=level > 0,
                shared_gate=level < levels - 1,
            )
            for level in range(levels)
        )

    def forward(self, x: Tensor | Sequence[Tensor]) -> Mixed:
        for layer in self.layers:
            x, gates = layer(x)
        assert isinstance(x, Tensor)
        return Mixed(x.transpose(0, 1), gates)

    def gate_parameters(self) -> list[nn.Parameter]:
        return [
            parameter for layer in self.layers if isinstance(layer, CGCLayer) for parameter in layer.gate_parameters()
        ]
