"""Customized gate control, stage 2: one softmax over experts for each task, scaling the blocks of h_shared.

All tasks' gates are one Linear. Source: MODEL §4.2–§4.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ple_model.config import GateConfig, TaskConfig


def dim_scales(widths: Sequence[int]) -> Tensor:
    """s_i = √(mean width / width_i), [N]. Source: MODEL §4.2."""
    dims = torch.tensor(widths, dtype=torch.float32)
    return (dims.mean() / dims).sqrt()


def masked_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over an axis in float32 with weight exactly 0 outside `mask`; all 0 where nothing is inside."""
    open_or_empty = mask | ~mask.any(dim, keepdim=True)
    closed = torch.zeros(mask.shape, device=mask.device).masked_fill_(~open_or_empty, -torch.inf)
    return (logits.float() + closed).softmax(dim) * mask


def entropy(weights: Tensor) -> Tensor:
    """−Σ w log w over the last axis in float32, with 0 log 0 = 0."""
    return torch.special.entr(weights.float().clamp(min=torch.finfo(torch.float32).tiny)).sum(-1)


class CGCAttention(nn.Module):
    """The gates of all tasks over all experts, as one linear layer and a masked softmax.

    Args:
        config: strength of the prior, weight of the entropy, scaling by width.
        tasks: T of them, with their preferred experts.
        experts: names of the N experts.
        widths: d_i of their blocks, D in all.

    Shape:
        h_shared [B, D], present [B, N] bool → weights [B, T, N]; rows sum to 1 over present experts.

    Source: MODEL §4.2–§4.4.

    Example:
        >>> gate = CGCAttention(GateConfig(), tasks, ("perslay", "deepfm"), [6, 4])
        >>> gate(torch.randn(5, 10), torch.ones(5, 2, dtype=torch.bool)).shape == (5, len(tasks), 2)
        True
    """

    prior: Tensor
    scales: Tensor
    frozen: Tensor

    def __init__(
        self, config: GateConfig, tasks: Sequence[TaskConfig], experts: Sequence[str], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.entropy_weight, self.dropout = config.entropy_weight, config.dropout
        wanted = [{*task.experts, *config.preferred} for task in tasks]
        preferred = torch.tensor([[expert in own for expert in experts] for own in wanted])
        self.register_buffer("prior", torch.where(preferred, config.prior_bias, -config.prior_bias), persistent=False)
        scales = dim_scales(widths) if config.dim_normalize else torch.ones(len(widths))
        self.register_buffer("scales", scales, persistent=False)
        self.register_buffer("frozen", torch.tensor(False))
        self.linear = nn.Linear(sum(widths), len(tasks) * len(experts))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """W = 0 and b = the prior, so that the first output is the softmax of the prior."""
        nn.init.zeros_(self.linear.weight)
        with torch.no_grad():
            self.linear.bias.copy_(self.prior.flatten())

    def forward(self, h_shared: Tensor, present: Tensor) -> Tensor:
        if self.training and self.dropout:
            kept = torch.rand(present.shape, device=present.device) >= self.dropout
            kept[:, 0] = True
            present = present & kept
        logits = self.linear(h_shared).unflatten(-1, self.prior.shape)  # [B, T, N]
        by_expert = logits.transpose(1, 2).contiguous()  # a CPU takes a third of the time where the tasks come last
        return masked_softmax(by_expert, present.unsqueeze(2), dim=1).transpose(1, 2)

    def regularisation(self, weights: Tensor) -> Tensor:
        """λ·(−1/T) Σ_k H(w_k), mean over rows: a scalar that falls as the gates spread. Source: MODEL §4.3."""
        return -self.entropy_weight * entropy(weights).mean()
