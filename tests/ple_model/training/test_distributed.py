"""Processes on shares of each batch take the steps of one process on the whole batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]

TRAINS = """
import json, sys
import torch
torch.set_num_threads(1)
from safetensors.torch import save_file
from tests.ple_model import samples
from pathlib import Path
from ple_model.training.distributed import process_group
from ple_model.training.shards import ShardedRows, write_shards
from ple_model.training.trainer import fit
with process_group() as world:
    settings = json.loads(sys.argv[2])
    model, train, valid = samples.without_dropout(320, *(settings.pop(part, True) for part in ("adatt", "autoencoder")))
    if settings.pop("sharded", False):
        folder = Path(sys.argv[1] + ".rows")
        if world.first:
            for name, table in (("train", train), ("valid", valid)):
                write_shards(table, folder / name, 50)
        world.wait()
        train, valid = (ShardedRows.open(folder / name, world) for name in ("train", "valid"))
    epochs = {"phase1_epochs": 4, "phase2_epochs": 0, "warmup_epochs": 0, "batch_size_cpu": 64}
    settings = samples.training(**(epochs | settings))
    result = fit(model, train, valid, settings, None, progress=False)
    if world.first:
        found = {name: value.contiguous() for name, value in model.state_dict().items()}
        found |= {f"loss of epoch {r.epoch}": torch.tensor([r.loss, *r.valid_loss.values()]) for r in result.history}
        save_file(found, sys.argv[1])
"""


def _train(folder: Path, processes: int, **settings: object) -> dict[str, torch.Tensor]:
    script, out = folder / "trains.py", folder / f"{processes}.safetensors"
    script.write_text(TRAINS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable]
    if processes > 1:
        where = ["--nproc-per-node", str(processes), "--master-addr", "127.0.0.1", "--master-port", str(port)]
        launch += ["-m", "torch.distributed.run", *where]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = [str(script), str(out), json.dumps(settings)]
    done = subprocess.run([*launch, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out)


def _compare(found: dict[str, torch.Tensor], want: dict[str, torch.Tensor], atol: float) -> None:
    assert found.keys() == want.keys()
    for name, value in want.items():
        rtol = 1e-5 if name.startswith("loss") else 0
        torch.testing.assert_close(
            found[name], value, atol=atol, rtol=rtol, msg=lambda said, name=name: f"{name}: {said}"
        )


def test_two_processes_end_where_one_process_does(tmp_path: Path) -> None:
    one = _train(tmp_path, 1)  # 20 steps
    _compare(_train(tmp_path, 2), one, 1e-5)
    _compare(_train(tmp_path, 2, sharded=True), one, 1e-5)


@pytest.mark.parametrize(
    ("processes", "settings"),
    [(3, {"batch_size_cpu": 2, "phase1_epochs": 1}), (2, {"accumulate": 3, "phase1_epochs": 1})],
)
def test_processes_without_a_row_of_a_batch_take_part(processes: int, settings: dict[str, int], tmp_path: Path) -> None:
    """Batches of two rows, each of which some process owns; parts of batches that some process has nothing of. No
    autoencoder: over so many steps a rounding decides which of its latents are on."""
    settings = {"batch_size_cpu": 4, "adatt": False, "autoencoder": False, **settings}
    _compare(_train(tmp_path, processes, sharded=True, **settings), _train(tmp_path, 1, **settings), 1e-4)


def test_parts_of_a_batch_end_where_the_whole_batch_does(tmp_path: Path) -> None:
    """Without adaTT, which measures affinities on the first part only."""
    whole, parts = _train(tmp_path, 1, adatt=False), _train(tmp_path, 1, adatt=False, accumulate=2)
    _compare(parts, whole, 1e-5)
