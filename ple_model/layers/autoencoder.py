"""Sparse autoencoder of h_shared: z = ReLU(W_e h + b_e), ĥ = W_eᵀ z + b_d, wider than h.

Two ways to few active latents: an L1 term in the loss, or the k largest of each row (TopK), which needs no term and has
no more than k by construction. It only observes: it reads h_shared.detach(), so its loss reaches no expert. Its latents
feed the report of concepts.
Source: MODEL §10; Cunningham et al., "Sparse Autoencoders Find Highly Interpretable Features" (2023), the L1 form; Gao
et al., "Scaling and evaluating sparse autoencoders" (2024), TopK and the loss of unused latents (§2.3, A.2), here with
tied weights and "unused" read off the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import AutoencoderConfig


class Decomposition(NamedTuple):
    """loss: weighted scalar term of the total. latents [r, 4·D] ≥ 0, detached, of the rows that were read. statistics:
    name → scalar: `dead` share of latents that no row activates, `l0` active latents a row, `explained_variance` of
    h, 1 − ‖h − ĥ‖² / ‖h − mean‖²."""

    loss: Tensor
    latents: Tensor
    statistics: dict[str, Tensor]


class SparseAutoencoder(nn.Module):
    """Tied sparse autoencoder; while training it reads the first `share` of a (shuffled) batch.

    Args:
        width: D, of h_shared.
        config: its settings.

    Shape:
        h_shared [B, D] → `Decomposition` of r rows, latents [r, expansion·D].

    Source: MODEL §10.

    Example:
        >>> codes = SparseAutoencoder(8, AutoencoderConfig(expansion=4)).eval()
        >>> codes(torch.randn(5, 8)).latents.shape
        torch.Size([5, 32])
    """

    def __init__(self, width: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.expansion * width, width))
        self.encoder_bias = nn.Parameter(torch.zeros(config.expansion * width))
        self.decoder_bias = nn.Parameter(torch.zeros(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Rows in random directions of length √(2 / expansion), so that ĥ ≈ h at the start: half of them are active,
        and Σ w wᵀ over the active ones is about the identity."""
        nn.init.normal_(self.weight)
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight) * (2.0 / self.config.expansion) ** 0.5)

    def encode(self, h: Tensor) -> Tensor:
        """z [B, expansion·D] ≥ 0, of h.detach(); float32 whatever the autocast."""
        return self._kept(self._before(h))

    def _before(self, h: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            return F.linear(h.detach().float(), self.weight, self.encoder_bias)

    def _kept(self, before: Tensor) -> Tensor:
        if self.config.active is None:
            return F.relu(before)
        return largest(before, self.config.active)

    def decode(self, latents: Tensor) -> Tensor:
        """ĥ [B, D]."""
        with torch.autocast(latents.device.type, enabled=False):
            return latents @ self.weight + self.decoder_bias

    def forward(self, h: Tensor) -> Decomposition:
        rows = math.ceil(self.config.share * len(h)) if self.training else len(h)
        h = h.detach().float()[:rows]
        before = self._before(h)
        latents = self._kept(before)
        left = h - self.decode(latents)
        error = left.square().sum(1)
        active = latents.detach() > 0
        if self.config.active is None:
            beside = self.config.sparsity * latents.sum(1).mean()
        else:
            beside = self.config.auxiliary * self._unused(before, active, left.detach())
        loss = self.config.weight * (error.mean() + beside)
        spread = (h - h.mean(0)).square().sum().clamp(min=torch.finfo(h.dtype).tiny)
        statistics = {
            "dead": 1.0 - active.any(0).float().mean(),
            "l0": active.sum(1).float().mean(),
            "explained_variance": 1.0 - error.detach().sum() / spread,
        }
        return Decomposition(loss, latents.detach(), statistics)

    def _unused(self, before: Tensor, active: Tensor, left: Tensor) -> Tensor:
        """Mean squared error of what is `left` [r, D] of h, from the D / 2 largest latents that no row uses."""
        unused = ~active.any(0)
        if not bool(unused.any()):
            return before.new_zeros(())
        latents = largest(before.masked_fill(~unused, -torch.inf), max(left.shape[1] // 2, 1))
        with torch.autocast(left.device.type, enabled=False):
            return (left - latents @ self.weight).square().sum(1).mean()


def largest(values: Tensor, count: int) -> Tensor:
    """[r, L] with all but the `count` largest positive values of each row at 0."""
    kept, places = values.topk(min(count, values.shape[1]), dim=1)
    return torch.zeros_like(values).scatter(1, places, F.relu(kept))
