"""Mamba-2 over patches of days: a state whose forgetting and reading depend on what is read.

Departures from the paper: the short convolution is dense and part of the projection (each step is projected together
with those before it), which costs one product instead of many passes over memory; a step without a valid day enters no
convolution and has step size 0, so it leaves the state as it is; step sizes start spread over the length of the
sequence, as it is short; LayerNorm replaces RMSNorm.
Source: Dao and Gu, "Transformers are SSMs" (2024), §7; MODEL §3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import MambaBranchConfig
from ple_model.experts.temporal.patches import Branch
from ple_model.experts.temporal.scan import selective_scan
from ple_model.layers.dropout import fast_dropout


class MambaLayer(nn.Module):
    """Residual block of one selective scan.

    Args:
        config: widths, heads, state, taps.
        steps: of a sequence.

    Shape:
        [B, S, width], valid [B, S] → [B, S, width], and of each step its size and the share of the state that it keeps.

    Source: Dao and Gu (2024), §7.

    Example:
        >>> layer = MambaLayer(MambaBranchConfig(model_width=16), steps=4)
        >>> layer(torch.randn(5, 4, 16), torch.ones(5, 4, dtype=torch.bool))[0].shape
        torch.Size([5, 4, 16])
    """

    def __init__(self, config: MambaBranchConfig, steps: int) -> None:
        super().__init__()
        self.config, inner = config, config.expand * config.model_width
        self.parts = (inner, inner + 2 * config.state, config.heads)  # gate; x, b, c; step size
        self.norm = nn.LayerNorm(config.model_width)
        self.project = nn.Linear(config.taps * config.model_width, sum(self.parts))
        self.log_rate = nn.Parameter(torch.zeros(config.heads))
        self.skip = nn.Parameter(torch.ones(config.heads))
        self.out_norm = nn.LayerNorm(inner)
        self.out = nn.Linear(inner, config.model_width, bias=False)
        self.reset_parameters(steps)

    def reset_parameters(self, steps: int) -> None:
        """Step sizes from ½ down to 1/steps over the heads: memories from two steps to the whole sequence."""
        size = torch.logspace(math.log10(0.5), math.log10(1 / max(steps, 2)), self.config.heads)
        with torch.no_grad():
            self.project.bias[-self.config.heads :] = size.expm1().log()  # the inverse of softplus

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The block's output, and of each step: its size, and the share of the state that it keeps; [B, S], means over
        heads."""
        batch, steps, _ = x.shape
        given, state = valid.unsqueeze(-1), self.config.state
        taps = with_earlier(self.norm(x) * given, self.config.taps)
        gate, mixed, size = self.project(taps).split(self.parts, dim=-1)
        value, b, c = F.silu(mixed).split((self.parts[0], state, state), dim=-1)
        value = value.reshape(batch, steps, self.config.heads, -1)
        dt = F.softplus(size.float()) * given  # [B, S, H]
        rate = -self.log_rate.float().exp()
        y = selective_scan(value, dt, rate, b, c, self.config.chunk, self.config.kernel).to(value.dtype)
        y = torch.addcmul(y, self.skip.unsqueeze(-1), value).flatten(2)
        y = self.out(self.out_norm(y * F.silu(gate)))
        x = x + fast_dropout(y, self.config.dropout, self.training, shared=1)
        return x, dt.detach().mean(-1), (dt.detach() * rate.detach()).exp().mean(-1)


class MambaBranch(Branch):
    """Selective scans over patches; the summary is the newest step beside the mean of the valid ones.

    Args:
        config: its settings.
        patches: P of a row.
        channels: numbers of a patch.

    Shape:
        patches [B, P, channels], valid [B, P] → summary [B, 2·model_width].

    Source: MODEL §3; Dao and Gu (2024).

    Example:
        >>> branch = MambaBranch(MambaBranchConfig(model_width=16), patches=4, channels=6)
        >>> branch(torch.randn(5, 4, 6), torch.ones(5, 4, dtype=torch.bool))[0].shape
        torch.Size([5, 32])
    """

    def __init__(self, config: MambaBranchConfig, patches: int, channels: int) -> None:
        super().__init__()
        self.width = 2 * config.model_width
        self.embed = nn.Linear(channels, config.model_width)
        self.layers = nn.ModuleList(MambaLayer(config, patches) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.model_width)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Summary: the newest step and the mean of the valid ones. `step_size` and `kept`: of the last layer."""
        x = self.embed(x)
        for layer in self.layers:
            x, size, kept = layer(x, valid)
        x = self.norm(x)
        given = valid.to(x.dtype) / valid.sum(1, keepdim=True).clamp(min=1)
        mean = torch.bmm(given.unsqueeze(1), x).squeeze(1)
        return torch.cat([x[:, -1], mean], dim=-1), {"step_size": size, "kept": kept}


def with_earlier(x: Tensor, taps: int) -> Tensor:
    """[B, S, C] → [B, S, taps·C]: each step beside the taps − 1 before it, zeros before the start."""
    padded, steps = F.pad(x, (0, 0, taps - 1, 0)), x.shape[1]
    return torch.cat([padded[:, k : k + steps] for k in range(taps)], dim=-1)
