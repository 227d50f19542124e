"""Experts of single tasks on the columns that a task gains most from, weighed against the shared path.

output_t(x) = w_t · tower_t(…) + (1 − w_t) · B_t,m ReLU(A_t,m x_t + a_t,m), for member m

x_t are the columns of task t as the wide expert encodes them. That one reads every column, and rows are too few for it
to learn which of them say nothing of a task; trees, which choose, do not have that problem. While training, one side
answers alone for a row with some probability, so that either learns to predict by itself and both together are a
mixture of two models; where one always answers alone, w_t is not learnt and stays ½. Each member has experts of its
own: they are small.
Source: Tang et al., "Progressive layered extraction" (2020), §4, whose experts of single tasks read what the shared
ones read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_model.config import TaskConfig, TaskExpertsConfig
from ple_model.layers.dropout import Dropout
from ple_model.layers.towers import StackedLinear


class TaskExperts(nn.Module):
    """The experts of the tasks with columns of their own.

    Args:
        config: their settings.
        tasks: T of them.
        places: for each task the places of its columns among the F that are read.
        members: M of the network.

    Shape:
        [B, F] → task → [M·B, out].

    Example:
        >>> experts = TaskExperts(TaskExpertsConfig(), tasks[:1], [[0, 2]], members=8)
        >>> experts(torch.randn(3, 5))[tasks[0].name].shape
        torch.Size([24, 1])
    """

    places: Tensor
    known: Tensor

    def __init__(
        self, config: TaskExpertsConfig, tasks: Sequence[TaskConfig], places: Sequence[Sequence[int]], members: int
    ) -> None:
        super().__init__()
        self.members, self.closed = members, config.closed
        self.names = [task.name for task in tasks]
        count = torch.tensor([len(own) for own in places])
        width = -(-int(count.max()) // 4) * 4  # at other widths a CPU's BLAS may round a row by where it stands
        padded = [[*own, *[0] * (width - len(own))] for own in places]
        self.register_buffer("places", torch.tensor(padded), persistent=False)
        known = torch.arange(width) < count.unsqueeze(1)
        self.register_buffer("known", known.float().unsqueeze(1), persistent=False)  # [T, 1, width]
        bound = count.float().rsqrt().view(-1, 1, 1)
        self.weight = nn.Parameter((torch.rand(len(tasks), width, members * config.hidden) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(len(tasks), 1, members * config.hidden) * 2 - 1) * bound)
        self.dropout = Dropout(config.dropout)
        self.heads = nn.ModuleDict({task.name: StackedLinear(members, config.hidden, task.out) for task in tasks})
        self.share = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, columns: Tensor) -> dict[str, Tensor]:
        read = columns[:, self.places].transpose(0, 1) * self.known  # [T, B, width]
        hidden = self.dropout(F.relu(torch.baddbmm(self.bias, read, self.weight)))
        of_members = hidden.unflatten(2, (self.members, -1)).transpose(1, 2)  # [T, M, B, hidden]
        return {n: self.heads[n](h).flatten(0, 1) for n, h in zip(self.names, of_members.unbind(0), strict=True)}

    def mixed(self, own: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of the tasks of `shared`, [M·B, out] each: those with an expert are mixed with what it says,
        `own`."""
        weights, closed = torch.sigmoid(self.share), self.closed
        out = dict(shared)
        for i, name in enumerate(self.names):
            if name not in shared:
                continue
            w = weights[i]
            if self.training and closed:
                dice = torch.rand(len(own[name]), 1, device=own[name].device)
                w = torch.where(dice < closed, 0.0, torch.where(dice < 2 * closed, 1.0, w))
            out[name] = own[name] + w * (shared[name] - own[name])
        return out
