"""Dropout whose random bits come eight units at a time.

torch draws one Bernoulli number a unit, serially on a CPU: a quarter of a training step of this model. Here one 64-bit
draw serves eight units, so the rate is rounded to a multiple of 1/256 (0.1 → 26/256, 0.2 → 51/256) and the survivors
are scaled by the rounded rate, which keeps the mean exact. A dropout of 0 is the identity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEVELS = 256


def fast_dropout(x: Tensor, rate: float, training: bool, shared: int | None = None) -> Tensor:
    """Zeroes units with probability ≈ `rate` while training, and scales the others up. Same shape as x.

    shared: an axis along which all units share one draw, as the tokens of a sequence do in Gal and Ghahramani (2016).
    """
    threshold = round(rate * LEVELS)
    if not training or threshold == 0:
        return x
    shape = [1 if axis == shared else size for axis, size in enumerate(x.shape)]
    return (x * _kept(shape, threshold, x.device)).mul_(_scale(threshold))


def factors(shape: Sequence[int], rate: float, training: bool, device: torch.device) -> Tensor | None:
    """What `fast_dropout` multiplies units by, float32 of a shape: 0, or the scale of the survivors; None for the
    identity."""
    threshold = round(rate * LEVELS)
    if not training or threshold == 0:
        return None
    return _kept(shape, threshold, device).float().mul_(_scale(threshold))


def _kept(shape: Sequence[int], threshold: int, device: torch.device) -> Tensor:
    units = math.prod(shape)
    draws = torch.empty(-(-units // 8), dtype=torch.int64, device=device).random_(-(2**63), None)
    return draws.view(torch.uint8)[:units].view(shape) >= threshold


def _scale(threshold: int) -> float:
    return LEVELS / (LEVELS - threshold)


class Dropout(nn.Module):
    """`fast_dropout` as a module.

    Args:
        rate: probability of a unit to be dropped, rounded to a multiple of 1/256.

    Shape:
        any → the same.

    Example:
        >>> Dropout(0.1).eval()(torch.ones(2, 3)).sum().item()
        6.0
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return fast_dropout(x, self.rate, self.training)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
