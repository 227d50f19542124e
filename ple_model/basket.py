"""GroupTaskExpertBasket: tasks of a group share one encoder of their gated experts and their customer's cluster.

The first layer stands behind the gate and is linear, so A·concat(w_i s_i h_i) = Σ_i w_i s_i (A_i h_i): the products
A_i h_i are formed once for a group and mixed for each of its tasks. Exact, and a quarter of the work.
Source: MODEL §4.2, §6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import BasketConfig, TaskConfig
from ple_model.dropout import Dropout
from ple_model.experts.base import mlp


class GroupTaskExpertBasket(nn.Module):
    """Blocks [B, d_i] × N, weights [B, T, N], cluster_probs [B, clusters] → task vectors [B, T, width]."""

    in_group: Tensor

    def __init__(self, config: BasketConfig, tasks: Sequence[TaskConfig], widths: Sequence[int], clusters: int) -> None:
        super().__init__()
        self.widths, self.routing = list(widths), config.routing
        self.groups = list(dict.fromkeys(task.group for task in tasks))
        self.members = [[i for i, task in enumerate(tasks) if task.group == group] for group in self.groups]
        self.order = [i for members in self.members for i in members]
        self.restore = [self.order.index(i) for i in range(len(self.order))]
        in_group = [[float(task in members) for members in self.members] for task in self.order]
        self.register_buffer("in_group", torch.tensor(in_group), persistent=False)  # [T, G], tasks by group
        self.cluster_embedding = nn.Parameter(torch.empty(clusters, config.cluster_width))
        self.hidden = config.hidden[0]
        # First layers of all groups in one: rows by group, columns by expert and then cluster.
        self.first = nn.Linear(sum(widths) + config.cluster_width, len(self.groups) * self.hidden)
        self.encoders = nn.ModuleList(self._encoder(config) for _ in self.groups)
        nn.init.normal_(self.cluster_embedding, std=config.cluster_width**-0.5)

    @staticmethod
    def _encoder(config: BasketConfig) -> nn.Sequential:
        """What follows the first linear layer."""
        widths = (*config.hidden, config.width)
        return nn.Sequential(
            nn.LayerNorm(widths[0]), nn.SiLU(), Dropout(config.dropout), mlp(widths[0], widths[1:], config.dropout)
        )

    def cluster_vector(self, cluster_probs: Tensor) -> Tensor:
        """[B, cluster_width]: posterior-weighted mixture of embeddings (soft) or that of the likeliest one (hard)."""
        if self.routing == "hard":
            return self.cluster_embedding[cluster_probs.argmax(-1)]
        return cluster_probs @ self.cluster_embedding

    def forward(self, blocks: Sequence[Tensor], weights: Tensor, cluster_probs: Tensor) -> Tensor:
        mixed = self.mix(blocks, weights, self.cluster_vector(cluster_probs))  # [B, T, H], tasks by group
        sizes = [len(members) for members in self.members]
        vectors = [encoder(part) for encoder, part in zip(self.encoders, mixed.split(sizes, dim=1), strict=True)]
        joined = torch.cat(vectors, dim=1)
        return joined if self.restore == sorted(self.restore) else joined[:, self.restore]

    def mix(self, blocks: Sequence[Tensor], weights: Tensor, cluster: Tensor) -> Tensor:
        """The first layer of each task's group over its gated blocks and the cluster, [B, T, H], tasks by group.

        The cluster is one more block, with weight 1. A task's weights stand at its group's products and 0 at those of
        other groups, so that one bmm mixes all tasks.
        """
        parts = self.first.weight.split([*self.widths, self.cluster_embedding.shape[1]], dim=1)
        products = [F.linear(h, a) for h, a in zip(blocks, parts[:-1], strict=True)]
        products.append(F.linear(cluster, parts[-1], self.first.bias))  # [B, G·H] each
        stacked = torch.stack(products, dim=1).view(len(cluster), -1, self.hidden)  # [B, (N + 1)·G, H]
        weights = F.pad(weights[:, self.order].to(stacked.dtype), (0, 1), value=1.0)
        placed = (weights.unsqueeze(-1) * self.in_group.unsqueeze(1)).flatten(2)  # [B, T, (N + 1)·G]
        return torch.bmm(placed, stacked)
