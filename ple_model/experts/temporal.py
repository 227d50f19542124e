"""Temporal expert: branches over the daily sequence `txn_seq`, fused.

The Transformer branch reads patches of a week (26 tokens for 180 days), which keeps its cost on a CPU near that of the
other experts. Positions are counted from the newest patch. Values of invalid days are zeroed before anything reads
them and a patch without a valid day is masked out of attention, so padding changes nothing.
Source: MODEL §3; Vaswani et al. (2017); patches as in Nie et al., "A Time Series is Worth 64 Words" (2023).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import InputConfig, TemporalConfig, TransformerBranchConfig
from ple_model.dropout import fast_dropout
from ple_model.experts.base import Expert, ExpertOutput, spread_rows
from ple_model.inputs import Inputs


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: TransformerBranchConfig) -> None:
        super().__init__()
        width, self.heads, self.dropout = config.model_width, config.heads, config.dropout
        self.norm1, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward),
            nn.SiLU(),
            nn.Linear(config.feedforward, width),
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # [B, heads, P, d]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None, :])
        x = x + fast_dropout(
            self.out(mixed.transpose(1, 2).reshape(batch, tokens, width)), self.dropout, self.training, shared=1
        )
        return x + fast_dropout(self.feedforward(self.norm2(x)), self.dropout, self.training, shared=1)


class TransformerBranch(nn.Module):
    """[B, S, C] with validity [B, S] → [B, model_width], and the pooling weights [B, P] over patches, oldest first."""

    def __init__(self, config: TransformerBranchConfig, steps: int, channels: int) -> None:
        super().__init__()
        self.patch, self.width = config.patch_days, config.model_width
        tokens = -(-steps // config.patch_days)
        self.embed = nn.Linear(config.patch_days * (channels + 1), self.width)
        self.position = nn.Parameter(torch.empty(tokens, self.width))
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(self.width)
        self.query = nn.Linear(self.width, 1, bias=False)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        batch, steps, _ = x.shape
        tokens = -(-steps // self.patch)
        x = torch.cat([x, mask.unsqueeze(-1).to(x.dtype)], dim=-1)  # a step also says that it is valid
        x = F.pad(x, (0, 0, tokens * self.patch - steps, 0)).reshape(batch, tokens, -1)
        valid = F.pad(mask, (tokens * self.patch - steps, 0)).view(batch, tokens, self.patch).any(-1)
        valid = valid | ~valid.any(1, keepdim=True)  # a row without one valid day attends to its zeros: no NaN
        x = self.embed(x) + self.position[-tokens:]
        for layer in self.layers:
            x = layer(x, valid)
        x = self.norm(x)
        scores = self.query(x).squeeze(-1).float().masked_fill(~valid, -torch.inf)
        pool = scores.softmax(-1).to(x.dtype)
        return torch.bmm(pool.unsqueeze(1), x).squeeze(1), pool


class Temporal(Expert):
    name = "temporal"
    reads = "txn_seq"
    channels: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: TemporalConfig, inputs: InputConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        count, first = len(inputs.channels), inputs.channels[0]
        adjacent = inputs.channels == tuple(range(first, first + count))
        self.run = slice(first, first + count) if adjacent else None  # a view of adjacent channels costs no copy
        self.register_buffer("channels", torch.tensor(inputs.channels), persistent=False)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.branches = nn.ModuleList(TransformerBranch(b, inputs.seq_steps, count) for b in config.branches)
        self.fuse = nn.Sequential(
            nn.Linear(sum(b.model_width for b in config.branches), config.width), nn.LayerNorm(config.width)
        )

    @classmethod
    def available(cls, inputs: InputConfig) -> bool:
        return inputs.has_txn_seq

    def present(self, inputs: Inputs) -> Tensor:
        return inputs.present["txn_seq"]

    def fit(self, inputs: Inputs) -> None:
        """Mean and standard deviation of each compressed channel over valid days of training rows."""
        if inputs.txn_seq is None or inputs.txn_seq_mask is None:
            raise ValueError("the data set has txn_seq but the rows to fit on have none")
        rows = spread_rows(len(inputs), self.config.fit_rows).to(self.mean.device)
        mask = inputs.txn_seq_mask.index_select(0, rows)
        days = self._compress(inputs.txn_seq.index_select(0, rows))[mask]
        if len(days) > 1:
            std, mean = torch.std_mean(days.double(), dim=0)
            self.mean.copy_(mean)
            self.std.copy_(torch.where(std > 0, std, 1.0))

    def forward(self, inputs: Inputs, interpret: bool = False) -> ExpertOutput:
        if inputs.txn_seq is None or inputs.txn_seq_mask is None:
            return ExpertOutput(self.mean.new_zeros(len(inputs), self.width))
        mask = inputs.txn_seq_mask
        x = self._standardise(inputs.txn_seq, mask)
        pooled, weights = zip(*(branch(x, mask) for branch in self.branches), strict=True)
        output = self.fuse(torch.cat(pooled, dim=-1))
        if not interpret:
            return ExpertOutput(output)
        return ExpertOutput(output, {f"patch_attention_{i}": w.detach() for i, w in enumerate(weights)})

    @torch.no_grad()
    def _compress(self, sequence: Tensor) -> Tensor:
        """sign·log1p|x| of the present channels, [B, S, C]: amounts are heavy-tailed."""
        x = sequence[..., self.run] if self.run else sequence.index_select(-1, self.channels)
        x = x.float()
        return x.abs().log1p_().copysign_(x)

    @torch.no_grad()
    def _standardise(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Compressed and scaled channels of valid days, 0 on the others, [B, S, C]."""
        x = self._compress(sequence).sub_(self.mean).div_(self.std)
        return x.masked_fill_(~mask.unsqueeze(-1), 0.0)
