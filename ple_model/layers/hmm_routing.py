"""HMM triple-mode routing: one projector for each hidden Markov model's states and dynamics.

SiLU(LayerNorm(Linear 16 → 32)) of journey (daily), lifecycle and behavior (monthly). A row without a mode's features
receives that mode's learnt default, and so do all rows where the data set lacks the mode. The basket decides which mode
a task receives. Source: MODEL §5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import InputConfig, RoutingConfig, SideConfig, SideName
from ple_model.inputs import Inputs
from ple_model.layers.basket import MODES
from ple_model.layers.channels import Channels
from ple_model.tasks.config import Mode

SIDES: dict[Mode, SideName] = {"journey": "hmm_journey", "lifecycle": "hmm_lifecycle", "behavior": "hmm_behavior"}


class HMMRouting(nn.Module):
    """A projector for each hidden Markov mode, with a learnt default where a row has none.

    Args:
        config: width of a mode's vector.
        inputs: the side inputs that the data set has.

    Shape:
        inputs of B rows → [B, 3, width], modes in the order of `basket.MODES`.

    Source: MODEL §5.

    Example:
        >>> routing = HMMRouting(RoutingConfig(width=32), columns)
        >>> routing(batch).shape
        torch.Size([4, 3, 32])
    """

    def __init__(self, config: RoutingConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.sides = {mode: inputs.side(SIDES[mode]) for mode in MODES if inputs.has(SIDES[mode])}
        self.project = nn.ModuleDict({mode: self._projector(side, config) for mode, side in self.sides.items()})
        self.default = nn.Parameter(torch.zeros(len(MODES), config.width))

    @staticmethod
    def _projector(side: SideConfig, config: RoutingConfig) -> nn.Sequential:
        channels = Channels(side)
        return nn.Sequential(channels, nn.Linear(channels.width, config.width), nn.LayerNorm(config.width), nn.SiLU())

    def forward(self, inputs: Inputs) -> Tensor:
        modes = []
        for mode, default in zip(MODES, self.default.unbind(), strict=True):
            if mode in self.sides:
                values, given = inputs.read(self.sides[mode])
                projected = self.project[mode](values)
                modes.append(torch.where(given.unsqueeze(1), projected, default.to(projected.dtype)))
            else:
                modes.append(default.expand(len(inputs), -1))
        return torch.stack(modes, dim=1)
