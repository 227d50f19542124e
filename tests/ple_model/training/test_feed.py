"""Batches that are fetched ahead are those that are fetched when asked for; a process without a row takes part."""

from __future__ import annotations

import time

import pytest
import torch

from ple_model.inputs import Inputs, Targets
from ple_model.training.data import TensorTable, digest_of_tensors, permuted_batches
from ple_model.training.distributed import World
from ple_model.training.feed import Batch, Feed
from tests.ple_model import samples

CPU = torch.device("cpu")
SLOW = 0.02


class SlowTable(TensorTable):
    """Rows that take their time."""

    def batch(self, rows: torch.Tensor, device: torch.device) -> tuple[Inputs, Targets]:
        time.sleep(SLOW)
        return super().batch(rows, device)


def digest(batch: Batch) -> str:
    return digest_of_tensors(TensorTable(batch.inputs, batch.targets).tensors())


def test_fetching_ahead_changes_no_batch_and_no_step_waits_for_it() -> None:
    table = samples.table(80)
    slow = SlowTable(table.inputs, table.targets)
    waited, found = {}, {}
    for ahead in (False, True):
        feed = Feed(slow, CPU, World())
        feed.ahead = ahead
        found[ahead] = []
        for batch in feed(permuted_batches(80, 16, 0, 1, 1)):
            time.sleep(2 * SLOW)  # a step that takes longer than its rows
            found[ahead].append(digest(batch))
        waited[ahead] = feed.waited
    assert found[True] == found[False]
    assert waited[False] > 5 * SLOW
    assert waited[True] < 2.5 * SLOW, "for the first batch only"


def test_an_error_of_the_thread_is_an_error_of_the_step() -> None:
    feed = Feed(samples.table(10), CPU, World())
    feed.ahead = True
    with pytest.raises(IndexError):
        list(feed(iter([torch.tensor([3]), torch.tensor([10])])))


def test_a_process_without_a_row_of_a_batch_has_one_without_a_label() -> None:
    """A step of two rows and three processes."""
    table = samples.table(30)
    batches = [next(Feed(table, CPU, World(rank, 3))(iter([torch.tensor([4, 9])]))) for rank in range(3)]
    assert [batch.own for batch in batches] == [1, 1, 0]
    assert {batch.rows for batch in batches} == {2}
    inputs, targets = batches[2].part(torch.arange(0))
    assert len(inputs) == 1
    assert not any(bool(mask.any()) for mask in targets.mask.values())
    assert any(bool(mask.any()) for mask in batches[0].part(torch.arange(1))[1].mask.values())


def test_parts_of_a_batch_are_its_rows() -> None:
    table = samples.table(30)
    batch = next(Feed(table, CPU, World())(iter([torch.arange(5, 15)])))
    assert batch.part(torch.arange(10))[0] is batch.inputs
    part = TensorTable(*batch.part(torch.tensor([2, 3]))).tensors()
    assert digest_of_tensors(part) == digest_of_tensors(table.select(torch.tensor([7, 8])).tensors())
