"""The path of customers without a history: static columns in place of inputs that the experts lack.

Anonymous and cold-start rows have a projector each, from their static columns to all blocks of h_shared. A learnt
gate g, one for each segment and block, blends them in: block_i ← (1 − g_i)·present_i·h_i + g_i·aux_i. Every expert then
counts as present in such a row. Rows of other segments, or without their static columns, pass unchanged.
Source: MODEL §15.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ple_model.config import AuxiliaryConfig, InputConfig, SideConfig
from ple_model.inputs import Inputs
from ple_model.layers.channels import Channels
from ple_model.layers.members import repeated
from ple_model.layers.mlp import mlp

#: Side input of static columns → code in `segment` of the customers that it describes (MODEL §1).
SEGMENTS = {"anonymous": 0, "coldstart": 1}


class AuxiliaryPath(nn.Module):
    """Fills in the blocks of customers without a history.

    Dropout is not used: the rows are few, and so are the parameters.

    Args:
        config: hidden widths of the projectors.
        inputs: of a data set that has `segment` and at least one of `anonymous` and `coldstart`.
        widths: d_i of the N experts.

    Shape:
        blocks N × [M·B, d_i], present [M·B, N] bool, inputs of B rows → the same blocks and presence with new customers
        filled in.

    Source: MODEL §15.

    Example:
        >>> path = AuxiliaryPath(AuxiliaryConfig(), columns, [6, 4])
        >>> path([torch.zeros(4, 6), torch.zeros(4, 4)], torch.zeros(4, 2, dtype=torch.bool), batch)[1].shape
        torch.Size([4, 2])
    """

    def __init__(self, config: AuxiliaryConfig, inputs: InputConfig, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.segment = inputs.side("segment")
        self.sides = [inputs.side(name) for name in ("anonymous", "coldstart") if inputs.has(name)]
        self.project = nn.ModuleList(self._projector(side, config, sum(widths)) for side in self.sides)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.gate = nn.Parameter(torch.zeros(len(self.sides), len(widths)))  # logits

    @staticmethod
    def _projector(side: SideConfig, config: AuxiliaryConfig, width: int) -> nn.Sequential:
        channels = Channels(side)
        hidden = mlp(channels.width, config.hidden, dropout=0.0)
        return nn.Sequential(channels, hidden, nn.Linear((channels.width, *config.hidden)[-1], width))

    def forward(
        self, blocks: Sequence[Tensor], present: Tensor, inputs: Inputs, members: int = 1
    ) -> tuple[list[Tensor], Tensor]:
        codes, known = inputs.read(self.segment)
        rows, projected = [], []
        for side, project in zip(self.sides, self.project, strict=True):
            values, given = inputs.read(side)
            rows.append(known & given & (codes[:, 0] == SEGMENTS[side.name]))
            projected.append(project(values))
        mine = torch.stack(rows, dim=1)  # [B, S], at most one True in a row
        gates = mine.float() @ self.gate.float().sigmoid()  # [B, N], 0 in rows of other segments
        gates = repeated(gates, members)
        auxiliary = torch.where(mine[:, :1], projected[0], projected[-1]).split(self.widths, dim=1)
        chosen = repeated(mine.any(1, keepdim=True), members)
        filled = []
        for i, (block, part, norm) in enumerate(zip(blocks, auxiliary, self.norms, strict=True)):
            g, kept = gates[:, i, None], present[:, i, None]
            blend = (1.0 - g) * kept * block + g * repeated(norm(part), members)
            filled.append(torch.where(chosen, blend.to(block.dtype), block))
        return filled, present | chosen
