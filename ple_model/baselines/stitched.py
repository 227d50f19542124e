"""Baselines whose bottoms are mixed after each layer: cross-stitch and sluice networks.

Sources: Misra et al., "Cross-stitch Networks" (CVPR 2016), eq. 1 and §3.3; Ruder et al., "Latent Multi-task
Architecture Learning" (AAAI 2019), eq. 2–4.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ple_model.baselines.stacked import Activation, Mixed, Trunk
from ple_model.config import TaskConfig
from ple_model.config.baselines import CrossStitchConfig, SluiceConfig
from ple_model.layers.towers import StackedLinear


def stitch(alpha: Tensor, x: Tensor) -> Tensor:
    """x̃_i = Σ_j α_ij x_j over the first axis."""
    return (alpha.to(x.dtype) @ x.flatten(1)).unflatten(1, x.shape[1:])


def start(units: int, own: float) -> Tensor:
    """[units, units]: `own` on the diagonal, the rest of each row in equal parts."""
    if units == 1:
        return torch.ones(1, 1)
    others = (1.0 - own) / (units - 1)
    return torch.full((units, units), others) + torch.eye(units) * (own - others)


def magnitudes(alpha: Tensor) -> Tensor:
    """Shares of each row's absolute weights, which may be negative themselves."""
    size = alpha.detach().float().abs()
    return size / size.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


class CrossStitch(Trunk):
    """After each layer x̃_t = Σ_s α_ts x_s, one α for a layer. Gates: the magnitudes of the last layer's."""

    def __init__(self, config: CrossStitchConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.expert_names = config.hidden[-1], tuple(task.name for task in tasks)
        widths = (width, *config.hidden)
        self.layers = nn.ModuleList(StackedLinear(len(tasks), a, b) for a, b in pairwise(widths))
        self.activation = Activation(config.dropout)
        self.alpha = nn.Parameter(start(len(tasks), config.own).repeat(len(config.hidden), 1, 1))

    def forward(self, x: Tensor) -> Mixed:
        h = x.expand(len(self.expert_names), -1, -1)  # every task's first layer reads the same
        for layer, alpha in zip(self.layers, self.alpha, strict=True):
            h = stitch(alpha, self.activation(layer(h)))
        return Mixed(h, magnitudes(self.alpha[-1]).expand(len(x), -1, -1))

    def gate_parameters(self) -> list[nn.Parameter]:
        return [self.alpha]


class Sluice(Trunk):
    """After each layer all tasks' subspaces are mixed by α, [T·G, T·G]; the tower reads Σ_l β_tl h̃_tl over layers.

    Σ ‖W_gᵀ W_h‖² over pairs of subspaces of a layer's weights keeps them apart. Gates: the magnitudes of the last
    layer's α, summed over subspaces. β starts with all weight on the last layer.
    """

    def __init__(self, config: SluiceConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.config, self.width, self.expert_names = config, config.width, tuple(task.name for task in tasks)
        widths = [width] + [config.width] * (config.layers - 1)
        self.layers = nn.ModuleList(StackedLinear(len(tasks), a, config.width) for a in widths)
        self.activation = Activation(config.dropout)
        self.alpha = nn.Parameter(start(len(tasks) * config.subspaces, config.own).repeat(config.layers, 1, 1))
        beta = torch.zeros(config.layers, len(tasks), 1, 1)
        beta[-1] = 1.0
        self.beta = nn.Parameter(beta)

    def forward(self, x: Tensor) -> Mixed:
        h = x.expand(len(self.expert_names), -1, -1)
        outputs = []
        for layer, alpha in zip(self.layers, self.alpha, strict=True):
            spaces = self.activation(layer(h)).unflatten(2, (self.config.subspaces, -1)).transpose(1, 2)  # [T, G, B, ·]
            mixed = stitch(alpha, spaces.flatten(0, 1)).unflatten(0, spaces.shape[:2])
            h = mixed.transpose(1, 2).flatten(2)
            outputs.append(h)
        vectors = (torch.stack(outputs) * self.beta).sum(0)
        tasks, spaces_each = len(self.expert_names), self.config.subspaces
        shares = self.alpha[-1].detach().abs().view(tasks, spaces_each, tasks, spaces_each).sum((1, 3))
        return Mixed(vectors, magnitudes(shares).expand(len(x), -1, -1))

    def penalty(self) -> dict[str, Tensor]:
        total = self.alpha.new_zeros(())
        for layer in self.layers:
            assert isinstance(layer, StackedLinear)
            spaces = layer.weight.unflatten(2, (self.config.subspaces, -1)).transpose(1, 2)  # [T, G, in, w / G]
            gram = torch.einsum("tgij,thik->tghjk", spaces, spaces).square().sum((3, 4))  # [T, G, G]
            total = total + gram.triu(diagonal=1).sum()
        return {"orthogonality": self.config.orthogonality * total}

    def gate_parameters(self) -> list[nn.Parameter]:
        return [self.alpha, self.beta]
