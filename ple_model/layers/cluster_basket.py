"""ClusterTaskExpertBasket, the legacy form of the basket: an independent MLP for each task and cluster.

x_t = concat(w_i s_i h_i, HMM mode of t) → hidden → width, one network for each of T·C pairs, mixed by the customer's
posterior. The clusters' first layers of a task lie beside each other in one matrix. The last layers are linear, so
Σ_c p_c (B_tc u_tc + b_tc) is one outer product p ⊗ u and one matrix product. LayerNorm and SiLU of each task follow the
mixture, as they end the group basket's encoders. Kept for comparison: 8 times its parameters.
Source: MODEL §6.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import BasketConfig, TaskConfig
from ple_model.layers.basket import MODES, BasketOutput
from ple_model.layers.dropout import fast_dropout
from ple_model.layers.towers import StackedLayerNorm, StackedLinear


class ClusterTaskExpertBasket(nn.Module):
    """An independent network for each pair of a task and a cluster, mixed by the posterior.

    Args:
        config: `cluster_hidden` widths, routing of clusters, dropout.
        tasks: T of them.
        widths: d_i of the N experts.
        hmm_width: of a mode's vector, 0 without modes.
        clusters: C of the mixture model.

    Shape:
        as `GroupTaskExpertBasket`: → vectors [B, T, width].

    Source: MODEL §6.

    Example:
        >>> basket = ClusterTaskExpertBasket(BasketConfig(width=32), tasks, [6, 4], hmm_width=0, clusters=3)
        >>> blocks, weights = [torch.randn(5, 6), torch.randn(5, 4)], torch.rand(5, len(tasks), 2)
        >>> basket(blocks, weights, None, torch.rand(5, 3)).vectors.shape == (5, len(tasks), 32)
        True
    """

    mode_of: Tensor

    def __init__(
        self, config: BasketConfig, tasks: Sequence[TaskConfig], widths: Sequence[int], hmm_width: int, clusters: int
    ) -> None:
        super().__init__()
        self.routing, self.clusters, self.dropout = config.routing, clusters, config.dropout
        self.register_buffer("mode_of", torch.tensor([MODES.index(t.hmm) for t in tasks]), persistent=False)
        heads, hidden = len(tasks) * clusters, config.cluster_hidden
        # Column c·h + j of a task's matrix is unit j of cluster c.
        self.first = StackedLinear(len(tasks), sum(widths) + hmm_width, clusters * hidden[0])
        self.inner = nn.ModuleList(StackedLinear(heads, a, b) for a, b in pairwise(hidden))
        self.gain = nn.ParameterList(torch.ones(len(tasks), 1, clusters, width) for width in hidden)
        self.shift = nn.ParameterList(torch.zeros(len(tasks), 1, clusters, width) for width in hidden)
        self.last = nn.Parameter(torch.empty(len(tasks), clusters * hidden[-1], config.width))
        self.last_bias = nn.Parameter(torch.empty(len(tasks), clusters, config.width))
        self.norm = StackedLayerNorm(len(tasks), config.width)
        bound = hidden[-1] ** -0.5
        nn.init.uniform_(self.last, -bound, bound)
        nn.init.uniform_(self.last_bias, -bound, bound)

    def forward(
        self, blocks: Sequence[Tensor], weights: Tensor, modes: Tensor | None, cluster_probs: Tensor
    ) -> BasketOutput:
        parts = [h.unsqueeze(1) * w.unsqueeze(-1) for h, w in zip(blocks, weights.unbind(-1), strict=True)]
        if modes is not None:
            parts.append(modes.index_select(1, self.mode_of))
        x = self.first(torch.cat(parts, dim=-1).transpose(0, 1))  # [T, B, C·h]
        u = self._activate(x.unflatten(-1, (self.clusters, -1)), 0)  # [T, B, C, h]
        for i, linear in enumerate(self.inner, start=1):
            by_head = linear(u.transpose(1, 2).flatten(0, 1))  # [T·C, B, h]
            u = self._activate(by_head.unflatten(0, (-1, self.clusters)).transpose(1, 2), i)  # [T, B, C, h]
        shares = self._shares(cluster_probs).to(u.dtype)  # [B, C]
        outer = (u * shares.unsqueeze(-1)).flatten(2)  # [T, B, C·h]
        mixed = torch.baddbmm(shares @ self.last_bias, outer, self.last)
        return BasketOutput(F.silu(self.norm(mixed)).unbind(0), None)

    def _activate(self, u: Tensor, layer: int) -> Tensor:
        """LayerNorm of each task and cluster, SiLU and dropout, [T, B, C, h] → the same."""
        normal = F.layer_norm(u, u.shape[-1:])
        x = torch.addcmul(self.shift[layer], normal, self.gain[layer])
        return fast_dropout(F.silu(x), self.dropout, self.training)

    def _shares(self, cluster_probs: Tensor) -> Tensor:
        """[B, C]: the posterior (soft) or 1 for its argmax (hard)."""
        if self.routing == "hard":
            return F.one_hot(cluster_probs.argmax(-1), self.clusters)
        return cluster_probs
