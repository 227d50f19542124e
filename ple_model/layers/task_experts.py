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
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ple_model.config import TaskConfig, TaskExpertsConfig
from ple_model.layers.dropout import factors
from ple_model.layers.gated_layer import runs_here
from ple_model.layers.towers import StackedLinear, stacked_linear


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
        self.dropout = config.dropout
        self.heads = nn.ModuleDict({task.name: StackedLinear(members, config.hidden, task.out) for task in tasks})
        self.share = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, columns: Tensor) -> dict[str, Tensor]:
        read = columns[:, self.places].transpose(0, 1) * self.known  # [T, B, width]
        kept = factors((len(columns), self.weight.shape[2]), self.dropout, self.training, columns.device)
        last: list[Tensor] = [tensor for name in self.names for tensor in self.heads[name].parameters()]
        run = _TaskByTask.apply if runs_here(read) else _all_at_once
        said = run(read, self.weight, self.bias, kept, self.members, *last)
        return {name: of_members.flatten(0, 1) for name, of_members in zip(self.names, said, strict=True)}

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


def _all_at_once(
    read: Tensor, weight: Tensor, bias: Tensor, kept: Tensor | None, members: int, *last: Tensor
) -> tuple[Tensor, ...]:
    """The outputs of all members of each task's expert, [M, B, out] of T tasks.

    Args:
        read: [T, B, width] its columns.
        weight, bias: [T, width, M·H] and [T, 1, M·H] of the first layer.
        kept: [B, M·H] dropout of the hidden units, the same for all tasks, which share no unit; None = none.
        members: M.
        last: of each task the weights [M, H, out] and biases [M, 1, out] of the last layer.
    """
    hidden = torch.baddbmm(bias, read, weight).relu_()
    if kept is not None:
        hidden = hidden * kept
    of_tasks = [_of_members(h, members) for h in hidden]
    return tuple(stacked_linear(h, w, b) for h, w, b in zip(of_tasks, last[::2], last[1::2], strict=True))


def _of_members(hidden: Tensor, members: int) -> Tensor:
    """[B, M·H] → [M, B, H]."""
    return hidden.unflatten(1, (members, -1)).transpose(0, 1)


class _TaskByTask(torch.autograd.Function):
    """`_all_at_once` for a CPU, task by task forward and backward: the hidden units of one task stay in the cache."""

    @staticmethod
    def forward(
        ctx: Any, read: Tensor, weight: Tensor, bias: Tensor, kept: Tensor | None, members: int, *last: Tensor
    ) -> tuple[Tensor, ...]:
        hidden, said = read.new_empty(*read.shape[:2], weight.shape[2]), []
        for h, x, w, b, w_last, b_last in zip(hidden, read, weight, bias, last[::2], last[1::2], strict=True):
            torch.addmm(b, x, w, out=h).relu_()
            if kept is not None:
                h.mul_(kept)
            said.append(stacked_linear(_of_members(h, members), w_last, b_last))
        ctx.save_for_backward(read, weight, hidden, *last[::2])
        ctx.members, ctx.scale = members, 1.0 if kept is None else float(kept.max())
        return tuple(said)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        read, weight, hidden, *last = ctx.saved_tensors
        of_weight, of_bias, of_last = torch.empty_like(weight), weight.new_empty(len(weight), 1, weight.shape[2]), []
        of_read = torch.empty_like(read) if ctx.needs_input_grad[0] else None
        for t, (grad, w_last) in enumerate(zip(grads, last, strict=True)):
            h = _of_members(hidden[t], ctx.members)
            of_last += [torch.bmm(h.transpose(1, 2), grad), grad.sum(1, keepdim=True)]
            of_hidden = torch.bmm(grad, (w_last * ctx.scale).transpose(1, 2))
            of_hidden = torch.ops.aten.threshold_backward(of_hidden, h, 0)  # 0 where a unit is, or was dropped
            of_bias[t, 0] = of_hidden.sum(1).flatten()
            of_members = torch.bmm(read[t].T.expand(ctx.members, -1, -1), of_hidden)
            of_weight[t].unflatten(1, (ctx.members, -1)).copy_(of_members.transpose(0, 1))
            if of_read is not None:
                own = weight[t].unflatten(1, (ctx.members, -1)).permute(1, 2, 0)
                torch.sum(torch.bmm(of_hidden, own), 0, out=of_read[t])
        return of_read, of_weight, of_bias, None, None, *of_last
