"""Temporal expert: Mamba, liquid and Transformer branches over one joint daily sequence, fused.

The sequence holds the channels of `txn_seq` and of `session_seq`, aligned at their newest day, and for each a channel
that says whether the day is valid. Branches read patches of days, which keeps their cost on a CPU near that of the
other experts; most parameters sit in the network that fuses the summaries, once a row instead of once a day.
Source: MODEL §3.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import InputConfig, SideConfig, TemporalConfig
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.experts.temporal.liquid import LiquidBranch
from ple_model.experts.temporal.mamba import MambaBranch
from ple_model.experts.temporal.patches import Branch, patch_count, to_patches
from ple_model.experts.temporal.transformer import TransformerBranch
from ple_model.inputs import Inputs
from ple_model.layers.mlp import mlp

__all__ = ["BRANCHES", "Temporal"]

BRANCHES: dict[str, type[Branch]] = {"mamba": MambaBranch, "liquid": LiquidBranch, "transformer": TransformerBranch}


class DailySequence(nn.Module):
    """One side input's days: the channels that the data set has, compressed by sign·log1p|x| and scaled.

    Amounts are heavy-tailed; 0 stays 0, so a day that is not valid stays 0 as well.

    Args:
        side: the side input, masked, of shape (days, channels).

    Shape:
        `compress`: inputs of B rows → channels [B, days, C] and validity [B, days].

    Example:
        >>> days = DailySequence(columns.side("txn_seq"))
        >>> days.compress(batch)[0].shape
        torch.Size([4, 180, 16])
    """

    channels: Tensor
    scale: Tensor

    def __init__(self, side: SideConfig) -> None:
        super().__init__()
        self.side, self.width = side, len(side.present_channels)
        first = side.present_channels[0]
        adjacent = side.present_channels == tuple(range(first, first + self.width))
        self.run = slice(first, first + self.width) if adjacent else None  # a view of adjacent channels costs no copy
        self.register_buffer("channels", torch.tensor(side.present_channels), persistent=False)
        self.register_buffer("scale", torch.ones(self.width))

    def compress(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Compressed channels [B, S, C] and validity [B, S]."""
        x, valid = inputs.read(self.side)
        x = x[..., self.run] if self.run else x.index_select(-1, self.channels)
        return x.abs().log1p_().copysign_(x), valid

    @torch.no_grad()
    def fit(self, inputs: Inputs) -> None:
        """The root mean square of each compressed channel over valid days; 1 for a channel that is 0 throughout."""
        x, valid = self.compress(inputs)
        square = x.double().square().sum((0, 1)) / valid.sum().clamp(min=1)
        self.scale.copy_(torch.where(square > 0, square.sqrt(), 1.0))

    @torch.no_grad()
    def write(self, inputs: Inputs, into: Tensor) -> Tensor:
        """Fills the newest days of `into` [B, steps, C + 1]: scaled channels, and 1 on valid days in the last one.
        Returns the validity [B, steps]."""
        x, valid = self.compress(inputs)
        newest = into[:, into.shape[1] - x.shape[1] :]
        newest[..., :-1] = x.div_(self.scale)
        newest[..., -1] = valid
        return F.pad(valid, (into.shape[1] - x.shape[1], 0))


class Temporal(Expert):
    """Mamba, liquid and Transformer branches over the daily sequences, fused.

    Args:
        config: its settings.
        inputs: the columns and side inputs that the data set has.

    Shape:
        inputs of B rows → `ExpertOutput`, output [B, config.width].

    Source: MODEL §3.

    Example:
        >>> expert = Temporal(TemporalConfig(), columns)
        >>> expert(batch).output.shape
        torch.Size([4, 64])
    """

    name = "temporal"
    reads = "txn_seq or session_seq"

    def __init__(self, config: TemporalConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        sides = [side for side in inputs.sides if side.name in ("txn_seq", "session_seq")]
        steps = max(side.shape[0] for side in sides)
        self.patches = {b.patch_days: patch_count(steps, b.patch_days) for b in config.branches}
        self.steps = max(days * count for days, count in self.patches.items())
        self.sequences = nn.ModuleList(DailySequence(side) for side in sides)
        channels = sum(len(side.present_channels) + 1 for side in sides)
        branches = [BRANCHES[b.kind](b, self.patches[b.patch_days], b.patch_days * channels) for b in config.branches]
        self.branches, joined = nn.ModuleList(branches), sum(branch.width for branch in branches)
        last = config.hidden[-1] if config.hidden else joined
        self.fuse = nn.Sequential(
            *mlp(joined, config.hidden, config.dropout), nn.Linear(last, config.width), nn.LayerNorm(config.width)
        )

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return inputs.has("txn_seq") or inputs.has("session_seq")

    @property
    def daily(self) -> list[DailySequence]:
        """The sequences that the data set has."""
        return [cast(DailySequence, sequence) for sequence in self.sequences]

    def present(self, inputs: Inputs) -> Tensor:
        return torch.stack([inputs.present_rows(s.side.name) for s in self.daily]).any(0)

    def fit(self, inputs: Inputs) -> None:
        """The channels' scales from training rows."""
        rows = spread_rows(len(inputs), self.config.fit_rows).to(inputs.features.device)
        read = {sequence.side.name for sequence in self.daily}
        sample = inputs.without(*(inputs.sides.keys() - read)).index(rows)
        for sequence in self.daily:
            sequence.fit(sample)

    @torch.no_grad()
    def joint(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The joint sequence [B, steps, C], oldest day first, 0 where nothing is valid; and [B, steps], the days that
        are valid in any of its side inputs."""
        widths = [sequence.width + 1 for sequence in self.daily]
        x = torch.zeros(len(inputs), self.steps, sum(widths), device=inputs.features.device)
        parts = zip(self.daily, x.split(widths, dim=-1), strict=True)
        return x, torch.stack([sequence.write(inputs, part) for sequence, part in parts]).any(0)

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        x, valid = self.joint(inputs)
        cut = {days: to_patches(x, valid, days, count) for days, count in self.patches.items()}
        found = [branch(*cut[b.patch_days]) for branch, b in zip(self.branches, self.config.branches, strict=True)]
        summaries, looked = zip(*found, strict=True)
        output = self.fuse(torch.cat(summaries, dim=-1))
        if not interpret:
            return ExpertOutput(output)
        named = {
            f"{branch.kind}_{i}_{what}": values.detach()
            for i, (branch, seen) in enumerate(zip(self.config.branches, looked, strict=True))
            for what, values in seen.items()
        }
        return ExpertOutput(output, named)
