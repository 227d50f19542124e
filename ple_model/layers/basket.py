"""GroupTaskExpertBasket: tasks of a group share one encoder of their gated experts, HMM mode and customer's cluster.

The first layer stands behind the gate and is linear, so A·concat(w_i s_i h_i) = Σ_i w_i s_i (A_i h_i): the products
A_i h_i are formed once for a group and mixed for each of its tasks. Exact, and a quarter of the work. Mode and cluster
add the same to all tasks of a group with one mode.
Source: MODEL §4.2, §5, §6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import BasketConfig, TaskConfig
from ple_model.layers.dropout import Dropout
from ple_model.layers.gated_layer import gated_layer, runs_here
from ple_model.layers.mlp import mlp
from ple_model.tasks.config import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
"""Order of the hidden Markov modes."""


@dataclass
class BasketOutput:
    """by_task: [B, width] of each task, in the order of the tasks; mixed [B, T_group, H] of each group: the output of
    the first layer, tasks in the basket's own `order`, or None without a shared first layer."""

    by_task: tuple[Tensor, ...]
    mixed: tuple[Tensor, ...] | None

    @property
    def vectors(self) -> Tensor:
        """[B, T, width]."""
        return torch.stack(self.by_task, dim=1)


class GroupTaskExpertBasket(nn.Module):
    """One encoder for the tasks of a group, over gated experts, hidden Markov mode and cluster.

    Args:
        config: hidden widths, routing of clusters, dropout.
        tasks: T of them; their `group` and `hmm` decide what is shared.
        widths: d_i of the N experts.
        hmm_width: of a mode's vector, 0 without modes.
        clusters: C of the mixture model.

    Shape:
        blocks N × [B, d_i], weights [B, T, N], modes [B, 3, hmm_width] or None, cluster_probs [B, C] → vectors
        [B, T, width].

    Source: MODEL §4.2, §6.

    Example:
        >>> basket = GroupTaskExpertBasket(BasketConfig(width=32), tasks, [6, 4], hmm_width=0, clusters=3)
        >>> blocks, weights = [torch.randn(5, 6), torch.randn(5, 4)], torch.rand(5, len(tasks), 2)
        >>> basket(blocks, weights, None, torch.rand(5, 3)).vectors.shape == (5, len(tasks), 32)
        True
    """

    in_group: Tensor
    in_run: Tensor

    def __init__(
        self, config: BasketConfig, tasks: Sequence[TaskConfig], widths: Sequence[int], hmm_width: int, clusters: int
    ) -> None:
        super().__init__()
        self.widths, self.routing = [*widths, *([hmm_width] if hmm_width else []), config.cluster_width], config.routing
        self.others = hmm_width + config.cluster_width
        self.groups = list(dict.fromkeys(task.group for task in tasks))
        # The mode that a task reads beside the experts; tasks of a group with the same mode are adjacent.
        self.modes = [MODES.index(task.hmm) if hmm_width else 0 for task in tasks]
        members = [[i for i, task in enumerate(tasks) if task.group == group] for group in self.groups]
        self.members = [sorted(tasks_of_group, key=lambda i: self.modes[i]) for tasks_of_group in members]
        self.order = [i for tasks_of_group in self.members for i in tasks_of_group]
        self.restore = [self.order.index(i) for i in range(len(self.order))]
        self.in_order = self.order == sorted(self.order)  # tasks of the configuration are ordered by group
        self.runs = self._runs()
        in_group = [[float(task in members) for members in self.members] for task in self.order]
        self.register_buffer("in_group", torch.tensor(in_group), persistent=False)  # [T, G], tasks by group
        in_run = [i for i, run in enumerate(chain(*self.runs)) for _ in range(run.start, run.stop)]
        self.register_buffer("in_run", torch.tensor(in_run), persistent=False)  # [T], tasks by group
        self.cluster_embedding = nn.Parameter(torch.empty(clusters, config.cluster_width))
        self.hidden = (*config.hidden, config.width)[0]
        # First layers of all groups in one: rows by group, columns by expert, then HMM mode, then cluster.
        self.first = nn.Linear(sum(self.widths), len(self.groups) * self.hidden)
        self.encoders = nn.ModuleList(self._encoder(config) for _ in self.groups)
        nn.init.normal_(self.cluster_embedding, std=config.cluster_width**-0.5)

    def _runs(self) -> list[list[slice]]:
        """Of each group its tasks, by places in `order`, in runs of those that read the same mode."""
        found: list[list[slice]] = []
        stop = 0
        for tasks_of_group in self.members:
            found.append([])
            for _, alike in groupby(tasks_of_group, key=lambda i: self.modes[i]):
                start, stop = stop, stop + len(list(alike))
                found[-1].append(slice(start, stop))
        return found

    @staticmethod
    def _encoder(config: BasketConfig) -> nn.Sequential:
        """The layers behind the first linear one."""
        widths = (*config.hidden, config.width)
        start = [nn.LayerNorm(widths[0]), nn.SiLU()] if config.norm else [nn.ReLU()]
        return nn.Sequential(*start, Dropout(config.dropout), mlp(widths[0], widths[1:], config.dropout))

    def cluster_vector(self, cluster_probs: Tensor) -> Tensor:
        """[B, cluster_width]: posterior-weighted mixture of embeddings (soft) or that of the likeliest one (hard)."""
        if self.routing == "hard":
            return self.cluster_embedding[cluster_probs.argmax(-1)]
        return cluster_probs @ self.cluster_embedding

    def forward(
        self, blocks: Sequence[Tensor], weights: Tensor, modes: Tensor | None, cluster_probs: Tensor
    ) -> BasketOutput:
        mixed = self.mix(blocks, weights, modes, self.cluster_vector(cluster_probs))
        vectors = [v for encoder, part in zip(self.encoders, mixed, strict=True) for v in encoder(part).unbind(1)]
        return BasketOutput(tuple(vectors[place] for place in self.restore), mixed)

    def mix(
        self, blocks: Sequence[Tensor], weights: Tensor, modes: Tensor | None, cluster: Tensor
    ) -> tuple[Tensor, ...]:
        """The first layer of each group over its tasks' gated blocks, modes and the cluster, [B, T_group, H] each.

        Where `gated_layer` does not run, a task has its weights at its group's products and 0 at those of others, so
        that one bmm mixes all tasks.
        """
        weights = (weights if self.in_order else weights[:, self.order]).to(cluster.dtype)
        of_blocks, of_others = self.first.weight.split([sum(h.shape[1] for h in blocks), self.others], dim=1)
        added = self._added(of_others, modes, cluster)
        if runs_here(cluster):
            return gated_layer(of_blocks, weights, added, self.runs, blocks)
        parts = of_blocks.split(self.widths[: len(blocks)], dim=1)
        products = [F.linear(h, a) for h, a in zip(blocks, parts, strict=True)]  # [B, G·H] each
        stacked = torch.stack(products, dim=1).view(len(cluster), -1, self.hidden)  # [B, N·G, H]
        placed = (weights.unsqueeze(-1) * self.in_group.unsqueeze(1)).flatten(2)  # [B, T, N·G]
        mixed = torch.bmm(placed, stacked) + torch.stack(added, dim=1)[:, self.in_run]
        return mixed.split([len(members) for members in self.members], dim=1)

    def _added(self, weight: Tensor, modes: Tensor | None, cluster: Tensor) -> list[Tensor]:
        """The share of mode and cluster in the tasks of each run, and the bias, [B, H] each."""
        groups = zip(self.runs, weight.split(self.hidden), self.first.bias.split(self.hidden), strict=True)
        return [
            F.linear(cluster if modes is None else torch.cat([modes[:, self._mode(run)], cluster], dim=1), a, b)
            for runs, a, b in groups
            for run in runs
        ]

    def _mode(self, run: slice) -> int:
        return self.modes[self.order[run.start]]
