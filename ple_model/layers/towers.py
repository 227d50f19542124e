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
from ple_model.layers.members import by_member


class StackedLinear(nn.Module):
    """S independent linear layers of one shape, as one product.

    Widths are rounded up to a multiple of 4 and cut again: at others the BLAS of a CPU may round a row's last bits by
    where in the batch it stands, and a row's scores are to depend on that row alone.

    Args:
        stack: S.
        width_in: of the input.
        width_out: of the output.

    Shape:
        [S, B, in] → [S, B, out].

    Example:
        >>> StackedLinear(3, 8, 5)(torch.randn(3, 4, 8)).shape
        torch.Size([3, 4, 5])
    """

    def __init__(self, stack: int, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(stack, width_in, width_out))
        self.bias = nn.Parameter(torch.empty(stack, 1, width_out))
        bound = width_in**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return stacked_linear(x, self.weight, self.bias)


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What `StackedLinear` computes of [S, B, in] with weights [S, in, out] and biases [S, 1, out]."""
    width = weight.shape[2]
    spare = -width % 4
    if not spare:
        return torch.baddbmm(bias, x, weight)
    return torch.baddbmm(F.pad(bias, (0, spare)), x, F.pad(weight, (0, spare)))[..., :width]


class StackedLayerNorm(nn.Module):
    """S independent layer norms.

    Args:
        stack: S.
        width: of the last axis.

    Shape:
        [S, B, width] → the same.

    Example:
        >>> StackedLayerNorm(3, 8)(torch.randn(3, 4, 8)).shape
        torch.Size([3, 4, 8])
    """

    def __init__(self, stack: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(stack, 1, width))
        self.bias = nn.Parameter(torch.zeros(stack, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class TowerLevel(nn.Module):
    """Towers of the tasks of one topological level.

    Args:
        config: hidden widths and dropout.
        tasks: T of the level.
        width: of a task's vector.
        members: M, which have a last layer of their own each.

    Shape:
        [T, M·B, width], or T of [M·B, width], → raw outputs by task, [M·B, out] each.

    Source: MODEL §8.

    Example:
        >>> towers = TowerLevel(TowerConfig(hidden=(16,)), tasks[:2], width=8)
        >>> [tuple(raw.shape) for raw in towers(torch.randn(2, 4, 8)).values()]
        [(4, 1), (4, 1)]
    """

    def __init__(self, config: TowerConfig, tasks: Sequence[TaskConfig], width: int, members: int = 1) -> None:
        super().__init__()
        self.members = members
        layers: list[nn.Module] = []
        for hidden in config.hidden:
            layers += [StackedLinear(len(tasks), width, hidden), StackedLayerNorm(len(tasks), hidden)]
            layers += [nn.SiLU(), Dropout(config.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.output = nn.ModuleDict(
            {
                task.name: nn.Linear(width, task.out) if members == 1 else StackedLinear(members, width, task.out)
                for task in tasks
            }
        )

    def forward(self, x: Tensor | Sequence[Tensor]) -> dict[str, Tensor]:
        if len(self.hidden):
            x = self.hidden(x if isinstance(x, Tensor) else torch.stack(list(x)))
        last = x.unbind(0) if isinstance(x, Tensor) else x
        return {name: self._last(layer, h) for (name, layer), h in zip(self.output.items(), last, strict=True)}

    def _last(self, layer: nn.Module, h: Tensor) -> Tensor:
        raw: Tensor = layer(h) if self.members == 1 else layer(by_member(h, self.members)).flatten(0, 1)
        return raw
