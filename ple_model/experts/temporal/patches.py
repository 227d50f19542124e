"""The joint daily sequence that every branch reads, cut into patches of days, and the base of branches.

Source: patches as in Nie et al., "A Time Series is Worth 64 Words" (2023).
"""

from __future__ import annotations

from torch import Tensor, nn


class Branch(nn.Module):
    """One reading of the daily sequence. `width` is that of its summary."""

    width: int

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Patches x [B, P, days·C] (oldest first, 0 where invalid) and valid [B, P] → summary [B, width] and, by name,
        tensors that explain it, each [B, P]."""
        raise NotImplementedError


def patch_count(steps: int, days: int) -> int:
    """Patches of `days` days that hold `steps` days."""
    return -(-steps // days)


def to_patches(x: Tensor, valid: Tensor, days: int, patches: int) -> tuple[Tensor, Tensor]:
    """Days [B, S, C] and [B, S], S ≥ patches·days → the newest patches [B, P, days·C] and [B, P] (True = has a valid
    day)."""
    kept, first = patches * days, x.shape[1] - patches * days
    x = x[:, first:].reshape(len(x), patches, days * x.shape[-1])
    return x, valid[:, first : first + kept].reshape(-1, patches, days).any(-1)
