"""Fits of the preset `default` on the rows of one simulated night, on the GPU and on the CPU."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from feature_assets.kernels.compiled import use_cache
from feature_assets.sources import load_tables
from pipeline.home.folder import Home
from pipeline.intake.deliveries import data_folder
from pipeline.settings import Settings, load_settings
from pipeline.training import columns, fitting, material, model, training_set
from pipeline.training.workspace import Workspace
from ple_model.config import ModelConfig
from ple_model.training.config import TrainingConfig
from ple_model.training.data import TensorTable
from ple_model.training.initial import build
from ple_model.training.trainer import fit

RUNS = {
    "GPU, bf16, 256 rows": {"device": "cuda", "precision": "bf16"},
    "GPU, fp32, 256 rows": {"device": "cuda", "precision": "float32"},
    "GPU, fp32, 256 rows, not deterministic": {"device": "cuda", "precision": "float32", "deterministic": False},
    "GPU, fp32, 1,024 rows, twice the rate": {"precision": "float32", "batch_size_gpu": 1_024, "learning_rate": 4e-3},
    "CPU, fp32, 256 rows": {"device": "cpu"},
}
"""What is compared → settings beside those of the preset."""


def compare(folder: Path, customers: int) -> None:
    """A line for each run. folder: of the material, and of compiled kernels."""
    started = time.perf_counter()
    settings, config, train, valid = prepared(folder, customers)
    print(
        f"{customers:,} customers, {len(train):,} training rows, {len(config.inputs.present)} columns, made in "
        f"{time.perf_counter() - started:.0f} s",
        flush=True,
    )
    print(f"{'5 epochs of the preset default':<40}{'rows/s':>10}{'score':>9}{'seconds':>9}{'peak GiB':>10}{'waits':>8}")
    for name, changes in RUNS.items():
        run(name, TrainingConfig(**{**settings.training.model_dump(), **changes}), config, train, valid)


def run(name: str, training: TrainingConfig, config: ModelConfig, train: TensorTable, valid: TensorTable) -> None:
    """One fit: its rate, the mean skill of its best epoch on validation rows, its time and memory on the GPU, and the
    largest share of an epoch in which steps waited for their rows."""
    network = build(config, train, seed=1)
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(network, train, valid, training.model_copy(update={"seed": 1}), Path(folder), progress=False)
    rate = max(report.rows_per_second for report in result.history)
    waiting = max(report.waiting for report in result.history)
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(
        f"{name:<40}{rate:>10,.0f}{result.score:>9.4f}{time.perf_counter() - started:>9.0f}{memory:>10.2f}"
        f"{waiting:>8.1%}",
        flush=True,
    )


def prepared(folder: Path, customers: int) -> tuple[Settings, ModelConfig, TensorTable, TensorTable]:
    """Settings, network, and the rows to train and to validate on, of the simulation's last night."""
    settings = load_settings(home=folder / "home", dataset="bank_simulation", customers=customers)
    use_cache(Home(settings.home).kernels)
    dataset = settings.load_dataset()
    tables = load_tables(dataset, data_folder(settings, _progress))
    work, plan = Workspace(folder / "training"), material.training_plan(settings, tables.dataset, dataset.covers_until)
    fitting.fit(work, tables, plan, settings.seed, _progress)
    training_set.build(work, tables, plan, settings.max_training_rows, _progress)
    choice = columns.choose(work, plan, settings, _progress)
    config = model.model_config(settings, work.state(), work.label_state(), plan, choice)
    train, valid = (model.tensors(work, role, config) for role in ("train", "validation"))
    return settings, config, train, valid


def _progress(line: str) -> None:
    """What is being prepared, beside the results."""
    print(line, file=sys.stderr, flush=True)
