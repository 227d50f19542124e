"""The batches of an epoch with their rows: fetched as a step asks for them, or ahead of it where they rest elsewhere.

It measures how long steps stand still for their rows. On a GPU that is the time of this thread: copies that the device
queues behind its own work cost a step nothing that could be seen from here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ple_model.inputs import Inputs, Targets
from ple_model.training.data import Rows
from ple_model.training.distributed import World


@dataclass(frozen=True)
class Batch:
    """rows: of the whole batch, over all processes. own: those of this process, whose inputs and targets are here; a
    process without any has one without a label, since its part in the exchange is needed."""

    rows: int
    own: int
    inputs: Inputs
    targets: Targets

    def part(self, rows: Tensor) -> tuple[Inputs, Targets]:
        """Some of the own rows, by position; without any the first one without a label."""
        if not len(rows):
            first = torch.zeros(1, dtype=torch.int64, device=self.inputs.features.device)
            return self.inputs.index(first), _unlabelled(self.targets.index(first))
        if len(rows) == len(self.inputs):
            return self.inputs, self.targets
        return self.inputs.index(rows), self.targets.index(rows)


class Feed:
    """Fetches batches of `table` to `device`.

    waited: seconds so far in which nobody could go on for want of a batch.
    """

    def __init__(self, table: Rows, device: torch.device, world: World) -> None:
        self.table, self.device, self.world = table, device, world
        self.ahead = table.waits or table.device.type != device.type
        self.waited = 0.0

    def __call__(self, batches: Iterable[Tensor]) -> Iterator[Batch]:
        """The batches of row indices with their rows."""
        fetched = self._ahead(batches) if self.ahead else map(self._fetch, batches)
        while True:
            started = time.perf_counter()
            batch = next(fetched, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def _ahead(self, batches: Iterable[Tensor]) -> Iterator[Batch]:
        """Each batch is fetched by a thread while the one before it is worked on."""
        place = torch.cuda.current_device() if self.device.type == "cuda" else None
        with ThreadPoolExecutor(1, initializer=_on, initargs=(place,)) as pool:
            before: Future[Batch] | None = None
            for rows in batches:
                after = pool.submit(self._fetch, rows)
                if before is not None:
                    yield before.result()
                before = after
            if before is not None:
                yield before.result()

    def _fetch(self, rows: Tensor) -> Batch:
        own = self.table.share(rows, self.world)
        if len(own):
            return Batch(len(rows), len(own), *self.table.batch(own, self.device))
        any_row = self.table.share(torch.arange(len(self.table)), self.world)[:1]
        inputs, targets = self.table.batch(any_row, self.device)
        return Batch(len(rows), 0, inputs, _unlabelled(targets))


def _on(place: int | None) -> None:
    """The GPU of this process, which a thread does not inherit."""
    if place is not None:
        torch.cuda.set_device(place)


def _unlabelled(targets: Targets) -> Targets:
    return Targets(targets.values, {task: torch.zeros_like(mask) for task, mask in targets.mask.items()})
