"""A liquid network: each unit's time constant depends on what is read and on the state.

    ds/dt = −(1/τ + f(u, s)) s + f(u, s) A(u, s)

(the ODE of liquid time-constant networks, with the level A from a head instead of a constant). Over one step f and A
are held at its start; the ODE is then linear and its closed form exact, for any elapsed time:

    s(t + Δ) = s* + e^{−λΔ} (s − s*),   λ = 1/τ + f,   s* = f A / λ

Departure from CfC (eq. 10): the exponential is kept where the paper puts a sigmoid, so an elapsed time of 0 leaves the
state as it is, and λ is a rate in 1/day that can be read off.
Source: Hasani et al., "Liquid Time-constant Networks" (2021), eq. 1; "Closed-form Continuous-time Neural Networks"
(2022); MODEL §3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import LiquidBranchConfig
from ple_model.experts.temporal.patches import Branch
from ple_model.layers.dropout import fast_dropout


class LiquidCell(nn.Module):
    """One step of the liquid ODE. Inputs come projected.

    Args:
        width: of the state.
        backbone: of the hidden layer that rates and levels are read from.
        shortest: days, the shortest time constant that a unit starts with.
        longest: days, the longest; the others are log-spaced between them.

    Shape:
        u [B, backbone], state [B, width], elapsed days [B, 1] → state [B, width] and rates [B, width].

    Source: Hasani et al. (2021), eq. 1.

    Example:
        >>> cell = LiquidCell(width=8, backbone=6, shortest=1.0, longest=90.0)
        >>> cell(torch.randn(5, 6), torch.zeros(5, 8), torch.ones(5, 1))[0].shape
        torch.Size([5, 8])
    """

    def __init__(self, width: int, backbone: int, shortest: float, longest: float) -> None:
        """shortest, longest: days, the time constants that the units start with, log-spaced between them."""
        super().__init__()
        self.recurrent = nn.Linear(width, backbone, bias=False)
        self.heads = nn.Linear(backbone, 2 * width)
        rates = torch.logspace(-math.log10(shortest), -math.log10(longest), width)
        self.base = nn.Parameter(torch.full((width,), inverse_softplus(torch.tensor(1 / longest)).item()))
        with torch.no_grad():
            self.heads.bias[:width] = inverse_softplus(rates)

    def rates(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """λ in 1/day and the level s* that the state moves to, [B, width] each."""
        drive, level = self.heads(torch.tanh(u + self.recurrent(state))).chunk(2, dim=-1)
        drive = F.softplus(drive)
        rate = F.softplus(self.base) + drive
        return rate, drive / rate * torch.tanh(level)

    def forward(self, u: Tensor, state: Tensor, elapsed: Tensor) -> tuple[Tensor, Tensor]:
        """The state after `elapsed` days [B, 1], exactly as it was after 0; and λ."""
        rate, level = self.rates(u, state)
        return torch.lerp(level, state, (-rate * elapsed).exp()), rate


class LiquidBranch(Branch):
    """A liquid network over patches; its summary is the state after the newest patch.

    Args:
        config: its settings.
        patches: P of a row.
        channels: numbers of a patch.

    Shape:
        patches [B, P, channels], valid [B, P] → summary [B, model_width].

    Source: MODEL §3; Hasani et al. (2022).

    Example:
        >>> branch = LiquidBranch(LiquidBranchConfig(model_width=16), patches=4, channels=6)
        >>> branch(torch.randn(5, 4, 6), torch.ones(5, 4, dtype=torch.bool))[0].shape
        torch.Size([5, 16])
    """

    def __init__(self, config: LiquidBranchConfig, patches: int, channels: int) -> None:
        super().__init__()
        self.days, self.width, self.dropout = config.patch_days, config.model_width, config.dropout
        self.embed = nn.Linear(channels, config.backbone)
        self.cell = LiquidCell(self.width, config.backbone, self.days, self.days * max(patches, 2))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Summary: the state after the newest patch. `time_constant`: days, 1 / mean rate of units at each patch."""
        with torch.autocast(x.device.type, enabled=False):
            inputs = fast_dropout(self.embed(x.float()), self.dropout, self.training, shared=1)  # [B, P, backbone]
            elapsed = (elapsed_patches(valid) * self.days).to(inputs.dtype)
            state, rates = inputs.new_zeros(len(x), self.width), []
            for u, days in zip(inputs.unbind(1), elapsed.split(1, dim=1), strict=True):
                state, rate = self.cell(u, state, days)
                rates.append(rate.detach().mean(-1))
            return self.norm(state), {"time_constant": torch.stack(rates, 1).reciprocal()}


def elapsed_patches(valid: Tensor) -> Tensor:
    """[B, P] int64: patches from the last valid one to each valid one (1 for the first), 0 where invalid."""
    index = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    last = torch.where(valid, index, -1).cummax(1).values
    before = F.pad(last[:, :-1], (1, 0), value=-1)
    return torch.where(valid, torch.where(before < 0, 1, index - before), 0)


def inverse_softplus(x: Tensor) -> Tensor:
    """y with softplus(y) = x > 0."""
    return x.expm1().log()
