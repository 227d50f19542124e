"""Sparse autoencoder of h_shared: z = ReLU(W_e h + b_e), ĥ = W_eᵀ z + b_d, wider than h.

It only observes: it reads h_shared.detach(), so its loss reaches no expert. Its latents feed the report of concepts.
Source: MODEL §10; Cunningham et al., "Sparse Autoencoders Find Highly Interpretable Features" (2023).
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
        config: expansion, sparsity, weight and share.

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
        with torch.autocast(h.device.type, enabled=False):
            return F.relu(F.linear(h.detach().float(), self.weight, self.encoder_bias))

    def decode(self, latents: Tensor) -> Tensor:
        """ĥ [B, D]."""
        with torch.autocast(latents.device.type, enabled=False):
            return latents @ self.weight + self.decoder_bias

    def forward(self, h: Tensor) -> Decomposition:
        rows = math.ceil(self.config.share * len(h)) if self.training else len(h)
        h = h.detach().float()[:rows]
        latents = self.encode(h)
        error = (h - self.decode(latents)).square().sum(1)
        loss = self.config.weight * (error.mean() + self.config.sparsity * latents.sum(1).mean())
        latents = latents.detach()
        active = latents > 0
        spread = (h - h.mean(0)).square().sum().clamp(min=torch.finfo(h.dtype).tiny)
        statistics = {
            "dead": 1.0 - active.any(0).float().mean(),
            "l0": active.sum(1).float().mean(),
            "explained_variance": 1.0 - error.detach().sum() / spread,
        }
        return Decomposition(loss, latents, statistics)
