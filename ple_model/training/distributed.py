"""Data-parallel training: the exchange between the processes of one run.

Every process holds the whole model and takes its share of each global batch; losses are means over the labels of the
whole batch, so the sum of the processes' gradients is that of one process on that batch. Started by `torchrun`, which
sets the environment that `process_group` reads; without it a run is one process and nothing here costs anything.
Source: MODEL §13.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among `size`; rank 0 writes files and reports."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The running process group, or a single process."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over processes, outside of any graph; the tensor itself in a single process."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of a global batch's row indices, where every process holds all rows."""
        return rows if self.size == 1 else rows.tensor_split(self.size)[self.rank]

    def wait(self) -> None:
        """Waits until every process has reached this call."""
        if self.size > 1:
            dist.barrier()

    def sum_gradients(self, parameters: Sequence[Tensor], mean: Sequence[Tensor]) -> None:
        """Replace gradients by their sum over processes, those of `mean` by their mean, in one message. A parameter
        that has a gradient in no process keeps none."""
        if self.size == 1:
            return
        every = [*parameters, *mean]
        if not every:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in every]
        has = torch.tensor([p.grad is not None for p in every], dtype=torch.float32, device=every[0].device)
        flat = torch.cat([has, *(grad.reshape(-1).float() for grad in grads)])
        dist.all_reduce(flat)
        has, values = flat[: len(every)] > 0, flat[len(every) :].split([p.numel() for p in every])
        for i, (parameter, value) in enumerate(zip(every, values, strict=True)):
            if bool(has[i]):
                factor = 1.0 if i < len(parameters) else 1.0 / self.size
                parameter.grad = (value * factor).view_as(parameter).to(parameter.dtype)


@contextmanager
def process_group(backend: str | None = None) -> Iterator[World]:
    """Join the group that `torchrun` started, for the block; a single process without it.

    backend: nccl on GPUs, gloo on CPUs by default.
    """
    if "WORLD_SIZE" not in os.environ:
        yield World()
        return
    backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    dist.init_process_group(backend)
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        yield World.current()
    finally:
        dist.destroy_process_group()
