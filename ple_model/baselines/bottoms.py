"""Baselines whose towers read whole bottoms: single-task, shared-bottom, asymmetric and customized sharing.

Sources: Caruana, "Multitask Learning" (1997); Tang et al. (2020), §3.1 and figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ple_model.baselines.stacked import FannedMLP, Mixed, StackedMLP, Trunk
from ple_model.config import TaskConfig
from ple_model.config.baselines import AsymmetricConfig, CustomizedConfig, SharedBottomConfig, SingleTaskConfig
from ple_model.tasks.relations import active_relations


class SingleTask(Trunk):
    """h_k = f_k(x_k): a network for each task that shares nothing with another, not even its encoding of the inputs."""

    own_inputs = True
    shares: Tensor

    def __init__(self, config: SingleTaskConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.expert_names = config.hidden[-1], tuple(task.name for task in tasks)
        self.bottoms = StackedMLP(len(tasks), width, config.hidden, config.dropout)
        self.register_buffer("shares", torch.eye(len(tasks)), persistent=False)

    def forward(self, x: Tensor) -> Mixed:
        own = x.unflatten(1, (len(self.shares), -1)).transpose(0, 1)  # [T, B, d]
        return Mixed(self.bottoms(own), self.shares.expand(len(x), -1, -1))


class SharedBottom(Trunk):
    """h_k = f(x), the same for every task."""

    expert_names = ("bottom",)

    def __init__(self, config: SharedBottomConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.tasks = config.hidden[-1], len(tasks)
        self.bottom = FannedMLP(1, width, config.hidden, config.dropout)

    def forward(self, x: Tensor) -> Mixed:
        h = self.bottom(x).transpose(0, 1).expand(self.tasks, -1, -1)
        return Mixed(h, x.new_ones(len(x), self.tasks, 1))


class Asymmetric(Trunk):
    """h_k = mean of f_k(x) and of f_s(x) over the sources s of k. Of the fusions that the paper names (concatenation,
    sum, average pooling) the average: it leaves the width of a vector alone."""

    shares: Tensor

    def __init__(self, config: AsymmetricConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.expert_names = config.hidden[-1], tuple(task.name for task in tasks)
        self.bottoms = FannedMLP(len(tasks), width, config.hidden, config.dropout)
        reads = torch.eye(len(tasks))
        for relation in active_relations(config.relations, tasks)[0]:
            reads[self.expert_names.index(relation.target), self.expert_names.index(relation.source)] = 1.0
        self.register_buffer("shares", reads / reads.sum(1, keepdim=True), persistent=False)

    def forward(self, x: Tensor) -> Mixed:
        shares = self.shares.expand(len(x), -1, -1)
        mixed = torch.bmm(shares.to(x.dtype), self.bottoms(x).to(x.dtype))
        return Mixed(mixed.transpose(0, 1), shares)


class Customized(Trunk):
    """h_k = [f_k(x), f(x)]: a bottom of the task's own beside a shared one."""

    shares: Tensor

    def __init__(self, config: CustomizedConfig, tasks: Sequence[TaskConfig], width: int) -> None:
        super().__init__()
        self.width, self.expert_names = 2 * config.hidden[-1], (*(task.name for task in tasks), "shared")
        self.bottoms = FannedMLP(len(tasks) + 1, width, config.hidden, config.dropout)
        shares = torch.cat([torch.eye(len(tasks)), torch.ones(len(tasks), 1)], dim=1)
        self.register_buffer("shares", shares / 2, persistent=False)

    def forward(self, x: Tensor) -> Mixed:
        outputs = self.bottoms(x).transpose(0, 1)  # [T + 1, B, h]
        own, common = outputs[:-1], outputs[-1:]
        vectors = torch.cat([own, common.expand_as(own)], dim=2)
        return Mixed(vectors, self.shares.expand(len(x), -1, -1))
