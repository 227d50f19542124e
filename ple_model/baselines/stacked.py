"""Networks of one shape as stacked matrix products, and the base of a baseline's trunk.

Source: PERFORMANCE §2 (no loop over tasks or experts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.layers.dropout import Dropout
from ple_model.layers.towers import StackedLinear


@dataclass
class Mixed:
    """vectors [T, B, width]: input of the towers. gates [B, T, N]: the shares with which they read the experts."""

    vectors: Tensor
    gates: Tensor


class Trunk(nn.Module):
    """The network between the encoded inputs and the towers: [B, d] → `Mixed`.

    width: of a task's vector. expert_names: the last axis of the gates. own_inputs: whether it reads an encoding of
    its own for each task, [B, T·d].
    """

    width: int
    expert_names: tuple[str, ...]
    own_inputs = False

    def forward(self, x: Tensor) -> Mixed:
        raise NotImplementedError

    def penalty(self) -> dict[str, Tensor]:
        """Terms to add to the loss in training, by name."""
        return {}

    def gate_parameters(self) -> list[nn.Parameter]:
        """Parameters that no longer train once the gates are frozen (MODEL §4.4)."""
        return []


class Activation(nn.Module):
    """ReLU and dropout."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(F.relu(x, inplace=True))
        return dropped


class StackedMLP(nn.Module):
    """S independent networks of ReLU layers: [S, B, in] → [S, B, last]."""

    def __init__(self, stack: int, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for out in hidden:
            layers += [StackedLinear(stack, width, out), Activation(dropout)]
            width = out
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class FannedMLP(nn.Module):
    """S independent networks of ReLU layers that all read the same rows: [B, in] → [B, S, last].

    Their first layers are one matrix product.
    """

    def __init__(self, stack: int, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.stack = stack
        self.first = nn.Linear(width, stack * hidden[0])
        self.activation = Activation(dropout)
        self.rest = StackedMLP(stack, hidden[0], hidden[1:], dropout) if hidden[1:] else None

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.activation(self.first(x)).unflatten(1, (self.stack, -1))
        return h if self.rest is None else self.rest(h.transpose(0, 1)).transpose(0, 1)
