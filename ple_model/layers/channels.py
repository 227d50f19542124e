"""The channels of a side input that the data set has: the first layer of whatever reads one with a plain network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import SideConfig


class Channels(nn.Module):
    """Values [..., channels of the shape] → [..., `width`], those of `side.present_channels`."""

    index: Tensor

    def __init__(self, side: SideConfig) -> None:
        super().__init__()
        self.width = len(side.present_channels)
        self.register_buffer("index", torch.tensor(side.present_channels), persistent=False)
        self.whole = self.width == side.shape[-1]

    def forward(self, values: Tensor) -> Tensor:
        return values if self.whole else values.index_select(-1, self.index)
