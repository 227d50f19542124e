"""Raw-scale expert: the un-normalised heavy-tailed columns, compressed by log1p inside the model.

Source: MODEL §3. A missing value has its own learnt level for each column.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import InputConfig, RawScaleConfig
from ple_model.experts.base import Expert, ExpertOutput
from ple_model.inputs import Inputs
from ple_model.layers.mlp import mlp


class RawScale(Expert):
    """Raw columns by sign·log1p|x|, LayerNorm and an MLP.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3.

    Example:
        >>> expert = RawScale(RawScaleConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "raw_scale"
    reads = "features"
    columns: Tensor

    def __init__(self, config: RawScaleConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.width = config.width
        self.register_buffer("columns", torch.tensor(inputs.present_raw), persistent=False)
        count = len(inputs.present_raw)
        self.missing = nn.Parameter(torch.zeros(count))
        self.norm = nn.LayerNorm(count)
        self.network = mlp(count, config.hidden, config.dropout)
        last = config.hidden[-1] if config.hidden else count
        self.project = nn.Sequential(nn.Linear(last, config.width), nn.LayerNorm(config.width))

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return bool(inputs.present_raw)

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.features_mask.index_select(1, self.columns).any(1)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        x = inputs.features.index_select(1, self.columns).float()
        mask = inputs.features_mask.index_select(1, self.columns)
        x = torch.where(mask, x, 0.0)
        x = self.norm(torch.where(mask, x.sign() * x.abs().log1p(), self.missing))  # [B, C]
        output = self.project(self.network(x))
        return ExpertOutput(output, {"column_level": x.detach()} if interpret else {})
