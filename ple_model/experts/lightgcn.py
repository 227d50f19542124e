"""LightGCN expert: a projection of the customer's embedding in the graph of customers and merchants.

The embedding is computed beforehand by the feature group `lightgcn`; nothing here sees the graph. Coordinates are
standardised by training rows and not by row: the length of an embedding says how much is known of the customer.
Source: MODEL §3; He et al., "LightGCN" (2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import InputConfig, LightGCNConfig
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.inputs import Inputs
from ple_model.layers.mlp import mlp


class LightGCN(Expert):
    """Projection of the customer's embedding in the graph of customers and merchants.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3; He et al. (2020).

    Example:
        >>> expert = LightGCN(LightGCNConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "lightgcn"
    reads = "collaborative"
    channels: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: LightGCNConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.side = inputs.side("collaborative")
        count = len(self.side.present_channels)
        self.register_buffer("channels", torch.tensor(self.side.present_channels), persistent=False)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.network = mlp(count, config.hidden, config.dropout)
        last = config.hidden[-1] if config.hidden else count
        self.project = nn.Sequential(nn.Linear(last, config.width), nn.LayerNorm(config.width))

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return inputs.has("collaborative")

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.present_rows("collaborative")

    def fit(self, inputs: Inputs) -> None:
        """Mean and standard deviation of each coordinate over training rows."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.mean.device)
        rows = rows[inputs.present_rows("collaborative").index_select(0, rows)]
        if len(rows) > 1:
            values = inputs.sides["collaborative"].index_select(0, rows).index_select(1, self.channels)
            std, mean = torch.std_mean(values.double(), dim=0)
            self.mean.copy_(mean)
            self.std.copy_(torch.where(std > 0, std, 1.0))

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        values, given = inputs.read(self.side)
        values = values.index_select(1, self.channels)
        x = ((values - self.mean) / self.std).masked_fill(~given.unsqueeze(1), 0.0)
        output = self.project(self.network(x))
        return ExpertOutput(output, {"embedding_norm": values.norm(dim=1)} if interpret else {})
