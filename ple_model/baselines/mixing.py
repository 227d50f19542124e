"""A CGC layer's experts of one ReLU layer and their mixture, forward and backward in blocks, for a CPU.

A block is some rows and a group of experts: those of a few tasks, or the shared ones. Its working set stays in the
cache, nothing but the experts' outputs is as large as the batch, no gate is multiplied with experts that are not its
own, and every product has the shape that runs fastest. Source: PERFORMANCE §2 (a step = its matrix products). On 4,096
rows and 24 experts of 228 → 64 this takes two thirds of the time of the same lines left to autograd, or less.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ple_model.layers.dropout import LEVELS, fast_dropout

ROWS = 1024
"""Rows of a block."""
COLUMNS = 512
"""About as many units do the experts of a group have."""


def _columns(parts: Sequence[Tensor]) -> list[slice]:
    """Columns of each tensor [B, d_i] once they are joined."""
    return [slice(*ends) for ends in pairwise(accumulate((part.shape[1] for part in parts), initial=0))]


class _Group:
    """Experts first … last − 1 and the gates that read them: those of tasks start … stop − 1 for their own experts, of
    all tasks for the shared ones, and last the shared gate, if the layer has one."""

    def __init__(self, tasks: tuple[int, int], experts: tuple[int, int], specific: int, common: bool) -> None:
        self.start, self.stop = tasks
        self.experts, self.specific, self.common = slice(*experts), specific, common
        self.size, self.tasks = experts[1] - experts[0], tasks[1] - tasks[0]

    def gates(self, chosen: Tensor) -> Tensor:
        """Memory for the gates of a block of rows, zero at the experts that are not a gate's own."""
        return chosen.new_zeros(min(ROWS, len(chosen)), self.tasks + self.common, self.size)

    def _own(self, gates: Tensor) -> Tensor:
        """The tasks' weights of these experts, a view like `_chosen`."""
        if not self.specific:
            return gates[:, : self.tasks]
        return gates[:, : self.tasks].unflatten(2, (self.tasks, -1)).diagonal(dim1=1, dim2=2).transpose(1, 2)

    def _chosen(self, chosen: Tensor, skip: int) -> Tensor:
        return chosen[:, self.start : self.stop, : self.specific] if self.specific else chosen[..., skip:]

    def fill(self, gates: Tensor, chosen: Tensor, common: Tensor | None, skip: int) -> Tensor:
        """The gates of a block from [rows, T, specific + shared] and [rows, E]; skip: experts of one task."""
        gates = gates[: len(chosen)]
        self._own(gates).copy_(self._chosen(chosen, skip))
        if common is not None:
            gates[:, -1] = common[:, self.experts]
        return gates

    def read(self, gates: Tensor, chosen: Tensor, common: Tensor | None, skip: int) -> None:
        """The inverse of `fill`."""
        self._chosen(chosen, skip).copy_(self._own(gates))
        if common is not None:
            common[:, self.experts] = gates[:, -1]

    def mixtures(self, of_all: Tensor) -> Tensor:
        """The mixtures of these gates among [rows, K, h], [rows, tasks (+ 1), h]."""
        own = of_all[:, self.start : self.stop]
        return torch.cat([own, of_all[:, -1:]], dim=1) if self.common else own

    def add(self, mixed: Tensor, part: Tensor) -> None:
        """Add mixtures [rows, tasks (+ 1), h] to those of all gates."""
        mixed[:, self.start : self.stop] += part[:, : self.tasks]
        if self.common:
            mixed[:, -1] += part[:, -1]


def _groups(tasks: int, specific: int, shared: int, width: int, common: bool) -> list[_Group]:
    own = tasks * specific
    groups = [_Group((0, tasks), (own, own + shared), 0, common)]
    step = max(COLUMNS // max(specific * width, 1), 1)
    for start in range(0, tasks if specific else 0, step):
        stop = min(start + step, tasks)
        groups.append(_Group((start, stop), (start * specific, stop * specific), specific, common))
    return groups


class _ExpertMixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor,
        chosen: Tensor,
        common: Tensor | None,
        specific: int,
        dropout: float,
        *parts: Tensor,
    ) -> Tensor:
        x = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        tasks, shared = chosen.shape[1], chosen.shape[2] - specific
        width = weight.shape[1] // (tasks * specific + shared)
        groups = _groups(tasks, specific, shared, width, common is not None)
        mixed = x.new_zeros(len(x), tasks + (common is not None), width)
        outputs = [x.new_empty(len(x), group.size * width) for group in groups]
        for group, output in zip(groups, outputs, strict=True):
            columns = slice(group.experts.start * width, group.experts.stop * width)
            own_weight, own_bias, memory = weight[:, columns], bias[columns], group.gates(chosen)
            for start in range(0, len(x), ROWS):
                rows = slice(start, start + ROWS)
                h = torch.addmm(own_bias, x[rows], own_weight, out=output[rows]).relu_()
                if dropout:
                    h.copy_(fast_dropout(h, dropout, True))
                gates = group.fill(memory, chosen[rows], None if common is None else common[rows], specific)
                group.add(mixed[rows], torch.bmm(gates, h.view(len(h), group.size, width)))
        ctx.save_for_backward(x, weight, chosen, common, *outputs)
        ctx.groups, ctx.specific, ctx.width, ctx.parts = groups, specific, width, _columns(parts)
        ctx.scale = LEVELS / (LEVELS - round(dropout * LEVELS))
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, chosen, common, *outputs = ctx.saved_tensors
        grad, width = grad.contiguous(), ctx.width
        wanted = ctx.needs_input_grad[6:]
        of_parts = [
            x.new_zeros(len(x), p.stop - p.start) if w else None for p, w in zip(ctx.parts, wanted, strict=True)
        ]
        of_weight, of_bias = torch.zeros_like(weight), weight.new_zeros(weight.shape[1])
        of_chosen, of_common = torch.empty_like(chosen), None if common is None else torch.empty_like(common)
        for group, output in zip(ctx.groups, outputs, strict=True):
            columns = slice(group.experts.start * width, group.experts.stop * width)
            own_weight, memory = weight[:, columns], group.gates(chosen)
            for start in range(0, len(x), ROWS):
                rows = slice(start, start + ROWS)
                h = output[rows].view(-1, group.size, width)
                above = group.mixtures(grad[rows])
                of_gates = torch.bmm(above, h.transpose(1, 2))
                group.read(of_gates, of_chosen[rows], None if of_common is None else of_common[rows], ctx.specific)
                gates = group.fill(memory, chosen[rows], None if common is None else common[rows], ctx.specific)
                of_h = torch.bmm(gates.transpose(1, 2), above)
                # An output is 0 where ReLU cut it or dropout dropped it; the others were scaled.
                of_h = torch.ops.aten.threshold_backward(of_h, h, 0).flatten(1)
                if ctx.scale != 1.0:
                    of_h.mul_(ctx.scale)
                of_weight[:, columns].addmm_(x[rows].T, of_h)
                of_bias[columns] += of_h.sum(0)
                for part, of_part in zip(ctx.parts, of_parts, strict=True):
                    if of_part is not None:
                        of_part[rows].addmm_(of_h, own_weight[part].T)
        return of_weight, of_bias, of_chosen, of_common, None, None, *of_parts


def expert_mixture(
    parts: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor,
    chosen: Tensor,
    common: Tensor | None,
    specific: int,
    dropout: float = 0.0,
) -> Tensor:
    """Σ_e g_ke · dropout(relu(x W_e + b_e)) for every gate k, [B, K, h].

    Args:
        parts: x [B, in] in parts side by side; one that needs no gradient costs none.
        weight, bias: [in, E·h] and [E·h], a task's own experts first, task by task, then the shared ones.
        chosen: [B, T, specific + shared], gates of the tasks over their own and the shared experts.
        common: [B, E], a gate over all experts, or None. Its mixture comes last: K = T + 1.
        specific: experts of one task.
        dropout: rate, as in `fast_dropout`.
    """
    mixed: Tensor = _ExpertMixture.apply(weight, bias, chosen, common, specific, dropout, *parts)
    return mixed
