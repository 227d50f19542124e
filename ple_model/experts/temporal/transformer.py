"""Transformer over patches of days. Positions are counted from the newest patch; a patch without a valid day is masked
out of attention and of the pooling.

Source: Vaswani et al. (2017), pre-norm; MODEL §3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import TransformerBranchConfig
from ple_model.experts.temporal.patches import Branch
from ple_model.layers.dropout import fast_dropout


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward.

    Args:
        config: widths, heads, dropout.

    Shape:
        [B, P, width], valid [B, P] → [B, P, width].

    Source: Vaswani et al. (2017).

    Example:
        >>> layer = EncoderLayer(TransformerBranchConfig(model_width=16))
        >>> layer(torch.randn(5, 4, 16), torch.ones(5, 4, dtype=torch.bool)).shape
        torch.Size([5, 4, 16])
    """

    def __init__(self, config: TransformerBranchConfig) -> None:
        super().__init__()
        width, self.heads, self.dropout = config.model_width, config.heads, config.dropout
        self.norm1, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward), nn.SiLU(), nn.Linear(config.feedforward, width)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # [B, heads, P, d]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None, :])
        mixed = self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        x = x + fast_dropout(mixed, self.dropout, self.training, shared=1)
        return x + fast_dropout(self.feedforward(self.norm2(x)), self.dropout, self.training, shared=1)


class TransformerBranch(Branch):
    """Attention between patches; the summary is their mean by learnt weights.

    Args:
        config: its settings.
        patches: P of a row.
        channels: numbers of a patch.

    Shape:
        patches [B, P, channels], valid [B, P] → summary [B, model_width].

    Source: MODEL §3; Vaswani et al. (2017).

    Example:
        >>> branch = TransformerBranch(TransformerBranchConfig(model_width=16), patches=4, channels=6)
        >>> branch(torch.randn(5, 4, 6), torch.ones(5, 4, dtype=torch.bool))[0].shape
        torch.Size([5, 16])
    """

    def __init__(self, config: TransformerBranchConfig, patches: int, channels: int) -> None:
        super().__init__()
        self.width = config.model_width
        self.embed = nn.Linear(channels, self.width)
        self.position = nn.Parameter(torch.empty(patches, self.width))
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)
        self.query = nn.Linear(self.width, 1, bias=False)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Summary: the mean of the patches by learnt weights, which are its `attention`."""
        valid = valid | ~valid.any(1, keepdim=True)  # a row without one valid day attends to its zeros: no NaN
        x = self.embed(x) + self.position
        for layer in self.layers:
            x = layer(x, valid)
        x = self.norm(x)
        scores = self.query(x).squeeze(-1).float().masked_fill(~valid, -torch.inf)
        pool = scores.softmax(-1).to(x.dtype)
        return torch.bmm(pool.unsqueeze(1), x).squeeze(1), {"attention": pool}
