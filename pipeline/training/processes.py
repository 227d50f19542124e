"""The fit of the network: in this process, or in several that `torchrun` starts and starts again where one dies.

Several processes get what they need as files in a folder of the workspace: the rows as mapped shards, the initial
weights, the job as JSON. They write checkpoints where one process would, and the first one its result beside the job.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.settings import Settings
from pipeline.training.agent import BACKEND
from pipeline.training.rank import EPOCHS, FAILED

if TYPE_CHECKING:
    from ple_model.epochs import Epoch
    from ple_model.model import PLEClusterAdaTT
    from ple_model.training.data import TensorTable
    from ple_model.training.report import EpochReport
    from ple_model.training.trainer import FitResult

RESTARTS = 3
"""So often the processes are started again from the last checkpoint, before the training fails."""
LOG, JOB = "log.txt", "job.json"
_SHOWN = 30
"""Last lines of the log in an error."""


class ProcessesFailed(RuntimeError):
    """The processes ended without a result; has their last words."""


def fit_network(
    folder: Path,
    model: PLEClusterAdaTT,
    train: TensorTable,
    valid: TensorTable | None,
    settings: Settings,
    checkpoints: Path,
    on_epoch: Callable[[EpochReport], None],
    log: Callable[[str], None],
    epochs: Mapping[str, Epoch] | None = None,
    phase2_from: int | None = None,
) -> FitResult:
    """`ple_model.training.trainer.fit` in as many processes as the settings ask for.

    Args:
        folder: for the files of several processes; emptied before, gone afterwards.
        log: takes the lines of several processes.

    Raises:
        ProcessesFailed: several processes ended without a result.
        ValueError: more processes than rows, or than GPUs.
    """
    config = settings.training.model_copy(update={"seed": settings.seed})
    if settings.training_processes * settings.training_machines == 1:
        from ple_model.training.trainer import fit

        return fit(
            model,
            train,
            valid,
            config,
            checkpoints,
            on_epoch=on_epoch,
            progress=True,
            epochs=epochs,
            phase2_from=phase2_from,
        )
    from ple_model.training.result_files import load_result

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _write(folder, model, train, valid, settings, config.to_dict(), checkpoints, epochs, phase2_from)
        _run(folder, settings, on_epoch, log)
        return load_result(folder, model)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    folder: Path,
    model: PLEClusterAdaTT,
    train: TensorTable,
    valid: TensorTable | None,
    settings: Settings,
    training: dict[str, Any],
    checkpoints: Path,
    epochs: Mapping[str, Epoch] | None,
    phase2_from: int | None,
) -> None:
    import torch

    from ple_model.training.device import choose_device
    from ple_model.training.result_files import save_weights
    from ple_model.training.shards import write_shards

    each, every = settings.training_processes, settings.training_processes * settings.training_machines
    if few := [len(table) for table in (train, valid) if table is not None and len(table) < every]:
        raise ValueError(f"{few[0]} rows for {every} processes: lower training_processes")
    if choose_device(settings.training.device).type == "cuda" and torch.cuda.device_count() < each:
        raise ValueError(f"training_processes: {each}, and this machine has {torch.cuda.device_count()} GPUs")
    write_shards(train, folder / "train")
    if valid is not None:
        write_shards(valid, folder / "validation")
    save_weights(folder / "initial.safetensors", model.state_dict())
    job = {
        "model": model.config.to_dict(),
        "training": training,
        "epochs": None if epochs is None else dict(epochs),
        "phase2_from": phase2_from,
        "checkpoints": str(checkpoints),
        "plugins": list(settings.plugins),
        "threads": max(torch.get_num_threads() // each, 1),
    }
    (folder / JOB).write_text(json.dumps(job))


def command(settings: Settings, job: Path) -> list[str]:
    """Arguments of `torchrun`, the same on every machine."""
    where = ["--nproc-per-node", str(settings.training_processes), "--max-restarts", str(RESTARTS)]
    if settings.training_machines == 1:
        meet = ["--rdzv-backend", BACKEND, "--rdzv-endpoint", "127.0.0.1", "--local-addr", "127.0.0.1"]
    else:
        meet = ["--nnodes", str(settings.training_machines), "--rdzv-backend", "c10d"]
        meet += ["--rdzv-endpoint", settings.training_rendezvous]
    return [*where, *meet, "--rdzv-id", "ple", "--local-ranks-filter", "0", "-m", "pipeline.training.rank", str(job)]


def _run(folder: Path, settings: Settings, on_epoch: Callable[[EpochReport], None], log: Callable[[str], None]) -> None:
    """Start the processes and pass on what they tell, until they end."""
    from ple_model.training.report import EpochReport

    arguments, environment = command(settings, folder / JOB), dict(os.environ)
    environment["OMP_NUM_THREADS"] = str(json.loads((folder / JOB).read_text())["threads"])
    if settings.training_machines == 1:
        environment["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    else:
        log(f"waiting for {settings.training_machines - 1} more machines: torchrun {' '.join(arguments)}")
    log(f"{settings.training_processes} processes on each of {settings.training_machines} machines train the network")
    lines, reports = _Tail(folder / LOG), _Tail(folder / EPOCHS)

    def tell() -> None:
        for line in lines.new():
            log(line)
        for line in reports.new():
            on_epoch(EpochReport.from_dict(json.loads(line)))

    agent = [sys.executable, "-m", "pipeline.training.agent", str(os.getpid()), *arguments]
    with (folder / LOG).open("wb") as out:
        running = subprocess.Popen(
            agent, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while running.poll() is None:
                time.sleep(0.5)
                tell()
        finally:
            _end(running)
    tell()
    if (folder / FAILED).exists():
        raise ProcessesFailed((folder / FAILED).read_text())
    if running.returncode:
        last = "\n".join((folder / LOG).read_text(errors="replace").splitlines()[-_SHOWN:])
        raise ProcessesFailed(f"the processes that train the network ended with {running.returncode}:\n{last}")


def _end(running: subprocess.Popen[bytes]) -> None:
    """End what still runs: torchrun ends its processes on SIGTERM, and they end with it in any case."""
    if running.poll() is None:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


class _Tail:
    """The lines that a growing file has got since they were last asked for."""

    def __init__(self, file: Path) -> None:
        self.file, self.read = file, 0

    def new(self) -> list[str]:
        if not self.file.exists():
            return []
        with self.file.open("rb") as stream:
            stream.seek(self.read)
            whole, found, _ = stream.read().rpartition(b"\n")
        self.read += len(whole) + len(found)
        return [line for line in whole.decode(errors="replace").splitlines() if line.strip()]
