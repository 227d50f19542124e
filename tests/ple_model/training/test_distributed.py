"""Processes on shares of each batch take the steps of one process on the whole batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.ple_model.training import trains_in_processes
from tests.ple_model.training.trains_in_processes import trained

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As each of the processes has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _together(folder: Path, processes: int, *runs: dict[str, object]) -> list[dict[str, Tensor]]:
    """What so many processes train with each of these settings, one training after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", trains_in_processes.__name__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *launch, str(folder), json.dumps(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [load_file(folder / f"{number}.safetensors") for number in range(len(runs))]


def _compare(found: dict[str, Tensor], want: dict[str, Tensor], atol: float) -> None:
    assert found.keys() == want.keys()
    for name, value in want.items():
        rtol = 1e-5 if name.startswith("loss") else 0
        torch.testing.assert_close(
            found[name], value, atol=atol, rtol=rtol, msg=lambda said, name=name: f"{name}: {said}"
        )


def test_two_processes_end_where_one_process_does(tmp_path: Path) -> None:
    one = trained({}, tmp_path)  # 20 steps
    whole, sharded = _together(tmp_path, 2, {}, {"sharded": True})
    _compare(whole, one, 1e-5)
    _compare(sharded, one, 1e-5)


@pytest.mark.parametrize(
    ("processes", "settings"),
    [(3, {"batch_size_cpu": 2, "phase1_epochs": 1}), (2, {"accumulate": 3, "phase1_epochs": 1})],
)
def test_processes_without_a_row_of_a_batch_take_part(processes: int, settings: dict[str, int], tmp_path: Path) -> None:
    """Batches of two rows, each of which some process owns; parts of batches that some process has nothing of. No
    autoencoder: over many steps a rounding decides which of its latents are on."""
    changed = {"batch_size_cpu": 4, "adatt": False, "autoencoder": False, **settings}
    _compare(*_together(tmp_path, processes, {**changed, "sharded": True}), trained(changed, tmp_path), 1e-4)


def test_parts_of_a_batch_end_where_the_whole_batch_does(tmp_path: Path) -> None:
    """Without adaTT, which measures affinities on the first part only."""
    whole, parts = (trained({"adatt": False, **more}, tmp_path) for more in ({}, {"accumulate": 2}))
    _compare(parts, whole, 1e-5)
