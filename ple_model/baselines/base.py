"""A baseline: encoder of the inputs → trunk of its architecture → the model's towers. It trains in the same trainer,
with the same losses and on the same inputs as the model. Source: MODEL §14.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.baselines.encoder import InputEncoder
from ple_model.baselines.stacked import Mixed, Trunk
from ple_model.config.baselines import BaselineConfig
from ple_model.inputs import Inputs
from ple_model.layers.towers import TowerLevel
from ple_model.multitask import MultiTaskNetwork, Outputs


class SharedPart(nn.Module):
    """All in front of the towers: the part that phase 2 of training freezes."""

    def __init__(self, encoder: InputEncoder, network: Trunk) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network

    def forward(self, inputs: Inputs) -> tuple[Tensor, Mixed]:
        """The encoded inputs [B, d], and the input of the towers."""
        x = self.encoder(inputs)
        return x, self.network(x)


class Baseline(MultiTaskNetwork):
    """`Outputs.shared` are the encoded inputs; `Outputs.gates` the shares with which a task reads the experts or
    bottoms of its architecture (`expert_names`)."""

    config: BaselineConfig
    experts: SharedPart
    gates_frozen: Tensor

    def __init__(self, config: BaselineConfig, network: Trunk) -> None:
        super().__init__(config)
        stack = len(config.tasks) if network.own_inputs else 1
        self.experts = SharedPart(InputEncoder(config.encoder, config.inputs, stack), network)
        self.expert_names = network.expert_names
        self.tower = TowerLevel(config.tower, config.tasks, network.width)
        self.evidential = None
        self.add_units()
        self.register_buffer("gates_frozen", torch.tensor(False))

    def forward(self, inputs: Inputs, interpret: bool = False) -> Outputs:
        x, mixed = self.experts(inputs)
        predictions = self.tower(mixed.vectors)
        return Outputs(
            predictions={name: predictions[name] for name in self.task_names},
            gates=mixed.gates,
            shared=x,
            interpretation={"network": {"gates": mixed.gates.detach()}} if interpret else {},
            beside=self.beside(inputs),
        )

    def regularisation(self, outputs: Outputs) -> dict[str, Tensor]:  # noqa: ARG002
        return self.experts.network.penalty() if self.training and not bool(self.shared_frozen) else {}

    def fit_inputs(self, inputs: Inputs) -> None:
        self.experts.encoder.fit(inputs)

    def freeze_shared(self, frozen: bool = True) -> None:
        self.shared_frozen.fill_(frozen)
        self.gates_frozen.fill_(frozen)
        self.apply_frozen()

    def freeze_gates(self) -> None:
        self.gates_frozen.fill_(True)
        self.apply_frozen()

    def apply_frozen(self) -> None:
        self.experts.requires_grad_(not bool(self.shared_frozen))
        if bool(self.gates_frozen):
            for parameter in self.experts.network.gate_parameters():
                parameter.requires_grad_(False)
