"""Task towers, those of one topological level as stacked matrix products.

width → 64 → 32 → out; LayerNorm, SiLU and dropout after each hidden layer; raw outputs. Source: MODEL §8.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import TaskConfig, TowerConfig
from ple_model.layers.dropout import Dropout


class StackedLinear(nn.Module):
    """T independent linear layers of one shape: [T, B, in] → [T, B, out].

    Widths are rounded up to a multiple of 4 and cut again: at others the BLAS of a CPU may round a row's last bits by
    where in the batch it stands, and a row's scores are to depend on that row alone.
    """

    def __init__(self, stack: int, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(stack, width_in, width_out))
        self.bias = nn.Parameter(torch.empty(stack, 1, width_out))
        bound = width_in**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        width = self.weight.shape[2]
        spare = -width % 4
        if not spare:
            return torch.baddbmm(self.bias, x, self.weight)
        return torch.baddbmm(F.pad(self.bias, (0, spare)), x, F.pad(self.weight, (0, spare)))[..., :width]


class StackedLayerNorm(nn.Module):
    """T independent layer norms: [T, B, width] → the same shape."""

    def __init__(self, stack: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(stack, 1, width))
        self.bias = nn.Parameter(torch.zeros(stack, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class TowerLevel(nn.Module):
    """Towers of the tasks of one level: [T_level, B, width] → raw outputs [B, out] by task."""

    def __init__(self, config: TowerConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for hidden in config.hidden:
            layers += [StackedLinear(len(tasks), width, hidden), StackedLayerNorm(len(tasks), hidden)]
            layers += [nn.SiLU(), Dropout(config.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.output = nn.ModuleDict({task.name: nn.Linear(width, task.out) for task in tasks})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        last = self.hidden(x).unbind(0)
        return {name: layer(h) for (name, layer), h in zip(self.output.items(), last, strict=True)}
