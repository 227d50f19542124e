"""GroupTaskExpertBasket: tasks of a group share one encoder of their gated experts, HMM mode and customer's cluster.

The first layer stands behind the gate and is linear, so A·concat(w_i s_i h_i) = Σ_i w_i s_i (A_i h_i): the products
A_i h_i are formed once for a group and mixed for each of its tasks. Exact, and a quarter of the work.
Source: MODEL §4.2, §5, §6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import BasketConfig, TaskConfig
from ple_model.dropout import Dropout
from ple_model.experts.base import mlp
from ple_model.gated_layer import gated_layer, runs_here
from ple_model.tasks import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
"""Order of the hidden Markov modes."""


@dataclass
class BasketOutput:
    """vectors [B, T, width] in the order of the tasks; mixed [B, T, H]: what the first layer gave, in the order that
    the basket keeps tasks in (`order`), or None where there is no shared first layer."""

    vectors: Tensor
    mixed: Tensor | None


class GroupTaskExpertBasket(nn.Module):
    """Blocks [B, d_i] × N, weights [B, T, N], modes [B, 3, hmm width] or None, cluster_probs [B, clusters] → task
    vectors [B, T, width]."""

    in_group: Tensor
    in_mode: Tensor

    def __init__(
        self, config: BasketConfig, tasks: Sequence[TaskConfig], widths: Sequence[int], hmm_width: int, clusters: int
    ) -> None:
        super().__init__()
        self.widths, self.routing = [*widths, *([hmm_width] if hmm_width else []), config.cluster_width], config.routing
        self.groups = list(dict.fromkeys(task.group for task in tasks))
        self.members = [[i for i, task in enumerate(tasks) if task.group == group] for group in self.groups]
        self.order = [i for members in self.members for i in members]
        self.restore = [self.order.index(i) for i in range(len(self.order))]
        in_group = [[float(task in members) for members in self.members] for task in self.order]
        self.register_buffer("in_group", torch.tensor(in_group), persistent=False)  # [T, G], tasks by group
        in_mode = [[float(tasks[i].hmm == mode) for mode in MODES] for i in self.order] if hmm_width else []
        self.register_buffer("in_mode", torch.tensor(in_mode).view(len(tasks), -1), persistent=False)  # [T, 3]
        ends = list(accumulate(map(len, self.members)))
        self.tasks_of = [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]
        """Of each group its tasks, in the order of `order`."""
        self.columns = self._columns(len(widths), bool(hmm_width))
        self.cluster_embedding = nn.Parameter(torch.empty(clusters, config.cluster_width))
        self.hidden = config.hidden[0]
        # First layers of all groups in one: rows by group, columns by expert, then HMM mode, then cluster.
        self.first = nn.Linear(sum(self.widths), len(self.groups) * self.hidden)
        self.encoders = nn.ModuleList(self._encoder(config) for _ in self.groups)
        nn.init.normal_(self.cluster_embedding, std=config.cluster_width**-0.5)

    def _columns(self, blocks: int, has_modes: bool) -> list[slice]:
        """Of each input its columns of the first layer: blocks, the three modes (the same ones), the cluster."""
        ends = list(accumulate(self.widths))
        columns = [slice(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]
        return [*columns[:blocks], *([columns[blocks]] * len(MODES) if has_modes else []), columns[-1]]

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

    def forward(
        self, blocks: Sequence[Tensor], weights: Tensor, modes: Tensor | None, cluster_probs: Tensor
    ) -> BasketOutput:
        mixed = self.mix(blocks, weights, modes, self.cluster_vector(cluster_probs))  # [B, T, H], tasks by group
        sizes = [len(members) for members in self.members]
        vectors = [encoder(part) for encoder, part in zip(self.encoders, mixed.split(sizes, dim=1), strict=True)]
        joined = torch.cat(vectors, dim=1)
        return BasketOutput(joined if self.restore == sorted(self.restore) else joined[:, self.restore], mixed)

    def mix(self, blocks: Sequence[Tensor], weights: Tensor, modes: Tensor | None, cluster: Tensor) -> Tensor:
        """The first layer of each task's group over its gated blocks, its mode and the cluster, [B, T, H], tasks by
        group.

        Modes and cluster are more blocks, whose weights are 1 for the tasks that read them. Where `gated_layer` does
        not run, a task's weights stand at its group's products and 0 at others': one bmm mixes all tasks.
        """
        weights = weights[:, self.order].to(cluster.dtype)
        weights = torch.cat([weights, self.in_mode.to(weights).expand(len(cluster), -1, -1)], dim=-1)
        weights = F.pad(weights, (0, 1), value=1.0)  # [B, T, N + 3 + 1]
        if runs_here(cluster):
            inputs = [*blocks, *([] if modes is None else modes.unbind(1)), cluster]
            return gated_layer(self.first.weight, self.first.bias, weights, self.tasks_of, inputs, self.columns)
        parts = self.first.weight.split(self.widths, dim=1)
        products = [F.linear(h, a) for h, a in zip(blocks, parts, strict=False)]  # [B, G·H] each
        if modes is not None:
            products += F.linear(modes, parts[-2]).unbind(1)
        products.append(F.linear(cluster, parts[-1], self.first.bias))
        stacked = torch.stack(products, dim=1).view(len(cluster), -1, self.hidden)  # [B, (N + 3 + 1)·G, H]
        placed = (weights.unsqueeze(-1) * self.in_group.unsqueeze(1)).flatten(2)  # [B, T, (N + 3 + 1)·G]
        return torch.bmm(placed, stacked)
