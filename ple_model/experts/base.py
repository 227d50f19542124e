"""The base of experts: networks of the shared pool that read some inputs and return a block of h_shared.

Source: MODEL §3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from ple_model.config import InputConfig
from ple_model.inputs import Inputs


@dataclass
class ExpertOutput:
    """output [B, width]; interpretation: name → detached tensor ([B, …], or one for all rows), empty unless asked for;
    losses: name → weighted scalar term of the total loss, in training only; encoded: what the linear term reads [B, F],
    of the expert `wide` alone."""

    output: Tensor
    interpretation: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)
    encoded: Tensor | None = None


class Expert(nn.Module):
    """One expert. A subclass declares `name` and `reads`, sets `width`, and implements the methods below.

    The output of a row whose input is absent is arbitrary but finite: the gate gives it weight 0.
    """

    name: ClassVar[str]
    reads: ClassVar[str]
    """Its inputs in words, for the message that the data set has none."""
    has_members: ClassVar[bool] = False
    """Whether members begin inside: it is built with `members=M` and returns [M·B, width] (`layers.members`)."""
    width: int

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        """Whether the data set delivers what this expert reads."""
        raise NotImplementedError

    def present(self, inputs: Inputs) -> Tensor:
        """[B] bool: rows that have its input."""
        raise NotImplementedError

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        """[B, width] (with members inside [M·B, width]), and tensors that explain it if `interpret`."""
        raise NotImplementedError

    def fit(self, inputs: Inputs) -> None:
        """Takes scales or bin edges (buffers) from training rows. Most experts have none."""


def spread_rows(rows: int, at_most: int) -> Tensor:
    """Indices of at most that many rows, evenly spread; the same for the same numbers."""
    return torch.linspace(0, rows - 1, min(rows, at_most), dtype=torch.float64).round().long()
