"""The channels of a side input that the data set has: the first layer of a plain network that reads one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ple_model.config import SideConfig


class Channels(nn.Module):
    """Picks the channels of a side input that the data set has.

    Args:
        side: with its `present_channels`.

    Shape:
        values [..., channels of the shape] → [..., `width`].

    Example:
        >>> pick = Channels(SideConfig(name="txn_seq", shape=(30, 4), channels=(0, 2)))
        >>> pick(torch.randn(5, 30, 4)).shape
        torch.Size([5, 30, 2])
    """

    index: Tensor

    def __init__(self, side: SideConfig) -> None:
        super().__init__()
        self.width = len(side.present_channels)
        self.register_buffer("index", torch.tensor(side.present_channels), persistent=False)
        self.whole = self.width == side.shape[-1]

    def forward(self, values: Tensor) -> Tensor:
        return values if self.whole else values.index_select(-1, self.index)
