"""Rows in mapped files are the rows in memory: the same batches, the same weights, and for each of two half of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from ple_model.training.data import TensorTable, digest_of_tensors, permuted_batches
from ple_model.training.distributed import World
from ple_model.training.shards import ShardedRows, write_shards
from ple_model.training.trainer import fit
from tests.damage import flip
from tests.ple_model import samples

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


@pytest.fixture
def table() -> TensorTable:
    return samples.table(101)


def opened(table: TensorTable, folder: Path, rows: int = 17, world: World | None = None) -> ShardedRows:
    if not folder.exists():
        write_shards(table, folder, rows)
    return ShardedRows.open(folder, world or World())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_read_every_row_once_with_the_bits_of_the_table(
    size: int, table: TensorTable, tmp_path: Path
) -> None:
    ranks = [opened(table, tmp_path / "rows", world=World(rank, size)) for rank in range(size)]
    assert {len(rank) for rank in ranks} == {101}
    for rows in permuted_batches(101, 20, 0, 1, 1):
        shares = [rank.share(rows, World(number, size)) for number, rank in enumerate(ranks)]
        assert sorted(torch.cat(shares).tolist()) == sorted(rows.tolist())
        for rank, share in zip(ranks, shares, strict=True):
            found, want = (
                TensorTable(*rank.batch(share, CPU)).tensors(),
                TensorTable(*table.batch(share, CPU)).tensors(),
            )
            assert digest_of_tensors(found) == digest_of_tensors(want)
            assert all(tensor.is_contiguous() for tensor in found.values())
    assert sum(rank.size for rank in ranks) == table.size


def test_labels_of_all_rows_and_the_digest_are_those_of_the_table(table: TensorTable, tmp_path: Path) -> None:
    second = opened(table, tmp_path / "rows", world=World(1, 2))
    assert second.digest() == table.digest()
    assert TensorTable(table.inputs, second.targets).digest() == table.digest()


def test_a_network_learns_the_same_bits_from_mapped_files(tmp_path: Path) -> None:
    """Dropout, adaTT and both phases included."""
    weights, reports = [], []
    for mapped in (False, True):
        model, train, valid = samples.ready(256)
        if mapped:
            train, valid = opened(train, tmp_path / "train", 60), opened(valid, tmp_path / "valid", 60)
        result = fit(model, train, valid, samples.training(), None, progress=False)
        weights.append(digest_of_tensors(model.state_dict()))
        reports.append([(report.loss, report.valid_loss) for report in result.history])
        assert all(0 <= report.waiting <= 1 for report in result.history)
        assert any(report.waiting > 0 for report in result.history)
    assert weights[0] == weights[1]
    assert reports[0] == reports[1]


def test_a_shard_is_an_arrow_file_that_others_read(table: TensorTable, tmp_path: Path) -> None:
    opened(table, tmp_path / "rows")
    with pa.ipc.open_file(tmp_path / "rows" / "rows-00005.arrow") as file:
        batch = file.get_batch(0)
    assert batch.num_rows == 101 - 5 * 17
    place = json.loads((tmp_path / "rows" / "rows.json").read_text())["tensors"]["label/ltv"]
    values = batch.column(place["column"])[3].as_py()
    assert values[place["at"]] == table.targets.values["ltv"][5 * 17 + 3].item()


def test_what_is_not_there_or_not_what_was_written_is_refused(table: TensorTable, tmp_path: Path) -> None:
    first = opened(table, tmp_path / "rows", world=World(0, 2))
    with pytest.raises(IndexError, match="rows 0 to 49 only"):
        first.batch(torch.tensor([50]), CPU)
    flip(tmp_path / "rows" / "rows-00000.arrow")
    with pytest.raises(ValueError, match=r"rows-00000\.arrow is not what was written"):
        opened(table, tmp_path / "rows", world=World(0, 2))
    assert len(opened(table, tmp_path / "rows", world=World(1, 2))) == 101, "a process looks at its own shards"
    few = table.select(torch.arange(2))
    with pytest.raises(ValueError, match="2 rows for 3 processes"):
        opened(few, tmp_path / "few", world=World(0, 3))
    with pytest.raises(ValueError, match="without rows"):
        write_shards(table.select(torch.arange(0)), tmp_path / "none")


MEASURES = """
import gc, json, sys
from pathlib import Path
import psutil, torch
from ple_model.inputs import Inputs, Targets
from ple_model.training.data import TensorTable, permuted_batches
from ple_model.training.distributed import World
from ple_model.training.feed import Feed
from ple_model.training.shards import ShardedRows, write_shards

ROWS, WIDTH = 40_000, 1_000  # 5 kB a row, 200 MB

def table():
    rows = torch.arange(ROWS, dtype=torch.float32)
    inputs = Inputs(rows.unsqueeze(1).repeat(1, WIDTH), torch.ones(ROWS, WIDTH, dtype=torch.bool), torch.ones(ROWS, 3))
    return TensorTable(inputs, Targets({"churn": rows % 2}, {"churn": torch.ones(ROWS, dtype=torch.bool)}))

torch.set_num_threads(1)
folder, mode = Path(sys.argv[1]), sys.argv[2]
process = psutil.Process()
before = process.memory_full_info().uss
world = World() if mode == "memory" else World(int(mode), 2)
rows = table() if mode == "memory" else ShardedRows.open(folder, world)
feed = Feed(rows, torch.device("cpu"), world)
batches = feed(permuted_batches(ROWS, 256, 0, 1, 1))
seen = sum(float(batch.inputs.features[:batch.own, 0].double().sum()) for batch in batches)
gc.collect()
print(json.dumps({"uss": process.memory_full_info().uss - before, "seen": seen}))
if mode == "memory":
    write_shards(rows, folder)
"""


def test_each_of_two_processes_needs_half_of_the_memory(tmp_path: Path) -> None:
    """Of 200 MB of rows, after all batches of an epoch. Private memory (USS) counts mapped pages that no other process
    reads: they are the cache of the file, which the system takes back where memory is short."""

    def measured(*modes: str) -> list[dict[str, float]]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", MEASURES, str(tmp_path / "rows")]
        running = [subprocess.Popen([*command, mode], env=environment, stdout=subprocess.PIPE) for mode in modes]
        return [json.loads(process.communicate()[0]) for process in running]

    [whole], [first, second] = measured("memory"), measured("0", "1")
    assert first["seen"] + second["seen"] == whole["seen"] == sum(range(40_000))
    assert whole["uss"] > 190e6
    assert max(first["uss"], second["uss"]) < 0.55 * whole["uss"]
