"""Several processes train what one does, from the step of the asset; a killed one resumes to the same bits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from feature_assets.data.dataset import DatasetConfig
from pipeline.settings import Settings
from pipeline.training import model
from pipeline.training.processes import ProcessesFailed, command, fit_network
from ple_model.training.report import EpochReport
from ple_model.training.trainer import FitResult
from tests.pipeline.small_training import Material, fill

ROOT = Path(__file__).parents[3]
Told = Callable[[EpochReport], None]


def settings_of(home: Path, processes: int, **changes: object) -> Settings:
    from tests.ple_model import samples

    training = samples.training(phase1_epochs=2, phase2_epochs=1).to_dict()
    return Settings.model_validate(
        {"home": home, "seed": 0, "training": training, "training_processes": processes, **changes}
    )


def fitted(settings: Settings, on_epoch: Told = lambda _: None, log: Callable[[str], None] = print) -> FitResult:
    """A fit of the sample model, with dropout, adaTT and both phases."""
    from tests.ple_model import samples

    network, train, valid = samples.ready(200)
    home = settings.home
    return fit_network(home / "processes", network, train, valid, settings, home / "checkpoints", on_epoch, log)


def same_bits(found: FitResult, want: FitResult) -> bool:
    return found.weights.keys() == want.weights.keys() and all(
        value.equal(found.weights[epoch][name])
        for epoch, weights in want.weights.items()
        for name, value in weights.items()
    )


def ranks_of(process: psutil.Process) -> dict[str, psutil.Process]:
    """RANK → process, of those below a process."""
    found = {}
    for child in process.children(recursive=True):
        if "pipeline.training.rank" in child.cmdline() and "RANK" in child.environ():
            found[child.environ()["RANK"]] = child
    return found


def test_the_step_trains_with_two_processes_what_it_trains_with_one(
    made: Material, dataset: DatasetConfig, tmp_path: Path, said: list[str]
) -> None:
    """20 steps without draws, the rows in shards; what the second one leaves is a bundle and no rows."""
    plain = {"experts": [{"name": "deepfm", "dropout": 0.0}], "tower": {"dropout": 0.0}}
    training = {"phase1_epochs": 1, "phase2_epochs": 0, "warmup_epochs": 0, "min_steps": 20, "learning_rate": 1e-3}
    changed = {**made.settings.model_dump(), "network": plain, "training": training}
    found = []
    for processes, material in ((1, made), (2, fill(tmp_path / "other" / "training"))):
        settings = Settings.model_validate({**changed, "training_processes": processes})
        reports: list[EpochReport] = []
        result, _ = model.train(material.workspace, made.plan, dataset, settings, reports.append, said.append)
        assert [report.epoch for report in reports] == [1]
        assert result.batch_size == 18
        assert 0 <= reports[0].waiting <= 1
        assert not material.workspace.processes.exists()
        found.append((load_file(material.workspace.bundle / "weights.safetensors"), result))
    (one, alone), (two, together) = found
    assert one.keys() == two.keys()
    assert max(float((one[name].double() - two[name].double()).abs().max()) for name in one) < 1e-5
    assert together.score == pytest.approx(alone.score, abs=1e-5)
    assert together.history[0].loss == pytest.approx(alone.history[0].loss, rel=1e-5)
    assert any("phase 1 epoch  1/1" in line for line in said), "the lines of the first process come back"


@pytest.mark.trial
def test_a_killed_process_resumes_to_the_bits_of_an_unbroken_training(tmp_path: Path, said: list[str]) -> None:
    unbroken = fitted(settings_of(tmp_path / "a", 2))
    reports: list[EpochReport] = []

    def kill(report: EpochReport) -> None:
        reports.append(report)
        if len(reports) == 1:
            ranks_of(psutil.Process())["1"].kill()

    broken = fitted(settings_of(tmp_path / "b", 2), kill, said.append)
    assert broken.resumed_from is not None
    assert same_bits(broken, unbroken)
    assert [report.valid_loss for report in broken.history] == [report.valid_loss for report in unbroken.history]
    assert any("resumed after epoch" in line for line in said)


def test_what_would_come_again_ends_the_training_in_its_words(tmp_path: Path, said: list[str]) -> None:
    """No restart, and a person who stops a training leaves no process behind."""
    bad = settings_of(tmp_path, 2)
    training = bad.training.model_copy(update={"expert_rates": {"deepfn": 0.5}})
    with pytest.raises(ProcessesFailed, match="unknown expert 'deepfn'; did you mean 'deepfm'"):
        fitted(bad.model_copy(update={"training": training}), log=said.append)
    assert not any("restart" in line.lower() for line in said)

    def stop(_: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(bad, stop)
    assert not ranks_of(psutil.Process())
    assert not (tmp_path / "processes").exists()


ENDS = """
import sys
from pathlib import Path
from tests.pipeline.training.test_processes import fitted, settings_of
fitted(settings_of(Path(sys.argv[1]), 2), lambda report: print("epoch", flush=True))
"""


def test_the_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", ENDS, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert any(line == "epoch\n" for line in started.stdout)
        left = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(signal.SIGKILL)
        assert len(left) >= 3
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive


@pytest.mark.trial
def test_machines_meet_and_train_the_same(tmp_path: Path) -> None:
    """Two agents of torchrun on this machine stand for two machines."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = settings_of(tmp_path / "a", 1, training_machines=2, training_rendezvous=f"127.0.0.1:{port}")
    found: list[FitResult] = []
    night = threading.Thread(target=lambda: found.append(fitted(settings)))
    night.start()
    job = tmp_path / "a" / "processes" / "job.json"
    for _ in range(600):
        if job.exists():
            break
        time.sleep(0.1)
    other = [sys.executable, "-m", "torch.distributed.run", *command(settings, job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(other, env=environment, capture_output=True, text=True, timeout=300, check=False)
    night.join(60)
    assert found, done.stderr[-3000:]
    assert same_bits(found[0], fitted(settings_of(tmp_path / "b", 2)))


def test_settings_of_several_machines_and_rows_that_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need training_rendezvous, host:port"):
        settings_of(tmp_path, 1, training_machines=2)
    with pytest.raises(ValueError, match="200 rows for 201 processes: lower training_processes"):
        fitted(settings_of(tmp_path, 201))
