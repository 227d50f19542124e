"""The first linear layers of all groups behind the gates, forward and backward group by group, for a CPU.

The working set of a group stays in the cache, its tasks are mixed with its own products alone, and every product is
written where the mixture reads it. Source: PERFORMANCE §2; MODEL §4.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 512
"""Rows of a block."""
Groups = Sequence[Sequence[slice]]
"""Of each group its tasks, in runs of those to which the same is added; tasks by group, without a gap."""


def _blocks_of(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, rows, ROWS))


class _GatedLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, gates: Tensor, groups: Groups, *given: Tensor) -> tuple[Tensor, ...]:
        count = sum(len(runs) for runs in groups)
        added, inputs = given[:count], given[count:]
        rows, hidden = len(gates), added[0].shape[1]
        parts = weight.T.split([h.shape[1] for h in inputs])  # [d_i, G·H] each
        mixed = [gates.new_empty(rows, runs[-1].stop - runs[0].start, hidden) for runs in groups]
        products = gates.new_empty(rows, len(inputs), len(groups), hidden)
        for block in _blocks_of(rows):
            for h, part, product in zip(inputs, parts, products[block].flatten(2).unbind(1), strict=True):
                torch.mm(h[block], part, out=product)
            kind = 0
            for g, runs in enumerate(groups):
                first = runs[0].start
                of_tasks = torch.bmm(gates[block, first : runs[-1].stop], products[block, :, g])
                for run in runs:
                    own = slice(run.start - first, run.stop - first)
                    torch.add(of_tasks[:, own], added[kind][block, None], out=mixed[g][block, own])
                    kind += 1
        ctx.save_for_backward(weight, gates, products, *inputs)
        ctx.groups = groups
        return tuple(mixed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight, gates, products, *inputs = ctx.saved_tensors
        groups, widths = ctx.groups, [h.shape[1] for h in inputs]
        of_weight, of_gates = torch.zeros_like(weight), torch.empty_like(gates)
        of_added = [
            grad[:, run.start - runs[0].start : run.stop - runs[0].start].sum(1)
            for grad, runs in zip(grads, groups, strict=True)
            for run in runs
        ]
        wanted = ctx.needs_input_grad[3 + len(of_added) :]
        of_inputs = [torch.zeros_like(h) if yes else None for h, yes in zip(inputs, wanted, strict=True)]
        by_group = [
            list(zip(own.split(widths, 1), of_own.split(widths, 1), strict=True))
            for own, of_own in zip(weight.chunk(len(groups)), of_weight.chunk(len(groups)), strict=True)
        ]
        for block in _blocks_of(len(gates)):
            here = [
                (h[block], None if of_h is None else of_h[block]) for h, of_h in zip(inputs, of_inputs, strict=True)
            ]
            for g, (runs, parts) in enumerate(zip(groups, by_group, strict=True)):
                tasks, above = slice(runs[0].start, runs[-1].stop), grads[g][block]
                of_gates[block, tasks] = torch.bmm(above, products[block, :, g].transpose(1, 2))
                of_products = torch.bmm(gates[block, tasks].transpose(1, 2), above).unbind(1)  # N × [rows, H]
                for (h, of_h), of_product, (own, of_own) in zip(here, of_products, parts, strict=True):
                    of_own.addmm_(of_product.T, h)
                    if of_h is not None:
                        of_h.addmm_(of_product, own)
        return of_weight, of_gates, None, *of_added, *of_inputs


def gated_layer(
    weight: Tensor, gates: Tensor, added: Sequence[Tensor], groups: Groups, inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Σ_i g_ti (A_i^group(t) h_i) + `added` of t's run, for the tasks t of each group, [B, T_group, H] each.

    Args:
        weight: [G·H, Σ d_i], rows by group, columns by input.
        gates: [B, T, N], tasks by group.
        added: [B, H] of each run.
        groups: of each group its runs of tasks.
        inputs: N of [B, d_i].
    """
    mixed: tuple[Tensor, ...] = _GatedLayer.apply(weight, gates, groups, *added, *inputs)
    return mixed


def runs_here(x: Tensor) -> bool:
    """Whether `gated_layer` is the faster way for tensors like x: float32 on a CPU, not traced by a compiler."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and not torch.compiler.is_compiling()
