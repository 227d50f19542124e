"""The first linear layers of all groups behind the gates, forward and backward group by group, for a CPU.

What a group needs stays in the cache, its tasks are mixed with its own products alone, and every product is written
where the mixture reads it. Half the time of the same lines left to autograd. Source: PERFORMANCE §2; MODEL §4.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 512
"""Rows of a block."""


def _blocks_of(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))


class _GatedLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor,
        gates: Tensor,
        groups: Sequence[slice],
        columns: Sequence[slice],
        *inputs: Tensor,
    ) -> Tensor:
        rows, hidden = len(gates), len(bias) // len(groups)
        mixed = gates.new_empty(rows, gates.shape[1], hidden)
        products = gates.new_empty(len(groups), rows, len(inputs), hidden)
        for g, tasks in enumerate(groups):
            units = slice(g * hidden, (g + 1) * hidden)
            for block in _blocks_of(rows):
                made = products[g, block]
                for i, h in enumerate(inputs):
                    torch.mm(h[block], weight[units, columns[i]].T, out=made[:, i])
                made[:, -1] += bias[units]
                mixed[block, tasks] = torch.bmm(gates[block, tasks], made)
        ctx.save_for_backward(weight, gates, products, *inputs)
        ctx.groups, ctx.columns = groups, columns
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, gates, products, *inputs = ctx.saved_tensors
        hidden = grad.shape[2]
        of_weight, of_bias, of_gates = torch.zeros_like(weight), weight.new_zeros(len(weight)), torch.empty_like(gates)
        of_inputs = [h.new_zeros(h.shape) if ctx.needs_input_grad[5 + i] else None for i, h in enumerate(inputs)]
        for g, tasks in enumerate(ctx.groups):
            units = slice(g * hidden, (g + 1) * hidden)
            for block in _blocks_of(len(grad)):
                above = grad[block, tasks]
                of_gates[block, tasks] = torch.bmm(above, products[g, block].transpose(1, 2))
                of_made = torch.bmm(gates[block, tasks].transpose(1, 2), above)  # [rows, inputs, H]
                of_bias[units] += of_made[:, -1].sum(0)
                for i, of_input in enumerate(of_inputs):
                    part = (units, ctx.columns[i])
                    of_weight[part].addmm_(of_made[:, i].T, inputs[i][block])
                    if of_input is not None:
                        of_input[block].addmm_(of_made[:, i], weight[part])
        return of_weight, of_bias, of_gates, None, None, *of_inputs


def gated_layer(
    weight: Tensor,
    bias: Tensor,
    gates: Tensor,
    groups: Sequence[slice],
    inputs: Sequence[Tensor],
    columns: Sequence[slice],
) -> Tensor:
    """Σ_i g_ti (A_i^group(t) h_i) + g_tN b^group(t) for every task t, [B, T, H]. The last input carries the bias.

    Args:
        weight, bias: [G·H, D] and [G·H], rows by group.
        gates: [B, T, N], tasks by group.
        groups: of each group its tasks.
        inputs: N of [B, d_i].
        columns: of each input its columns of the weight; inputs may share them.
    """
    mixed: Tensor = _GatedLayer.apply(weight, bias, gates, groups, columns, *inputs)
    return mixed


def runs_here(x: Tensor) -> bool:
    """Whether `gated_layer` is the faster way for tensors like x: float32 on a CPU, not traced by a compiler."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and not torch.compiler.is_compiling()
