"""One of several processes that train a network: `torchrun … -m pipeline.training.rank JOB`, JOB a file of
`pipeline.training.processes`, whose folder every process sees."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.plugins import load_plugins
from pipeline.stopping import end_with

if TYPE_CHECKING:
    from ple_model.training.report import EpochReport

EPOCHS, FAILED = "epochs.jsonl", "failed.txt"


def main(file: Path) -> None:
    """Train this process's share; the first one writes the epochs, the result, or an error that would come again."""
    end_with(os.getppid())
    job = json.loads(file.read_text())
    load_plugins(job["plugins"])

    import torch

    from ple_model.training.config import TrainingConfig
    from ple_model.training.device import choose_device
    from ple_model.training.distributed import process_group
    from ple_model.training.step import NonFiniteLoss

    config = TrainingConfig(**job["training"])
    torch.set_num_threads(job["threads"])
    with process_group("nccl" if choose_device(config.device).type == "cuda" else "gloo") as world:
        logging.basicConfig(level=logging.INFO if world.first else logging.ERROR, format="%(message)s")
        try:
            _train(file.parent, job, config)
        except (
            NonFiniteLoss,
            ValueError,
        ) as error:  # in every process alike; another attempt would end in the same way
            if world.first:
                (file.parent / FAILED).write_text(f"{type(error).__name__}: {error}")


def _train(folder: Path, job: dict[str, Any], config: Any) -> None:
    import safetensors.torch

    from ple_model.config import ModelConfig
    from ple_model.model import PLEClusterAdaTT
    from ple_model.training.distributed import World
    from ple_model.training.result_files import save_result
    from ple_model.training.shards import ShardedRows
    from ple_model.training.trainer import fit

    world = World.current()
    model = PLEClusterAdaTT(ModelConfig.from_dict(job["model"]))
    model.load_state_dict(safetensors.torch.load_file(folder / "initial.safetensors"))
    given = None if job["epochs"] is None else {task: (p, e) for task, (p, e) in job["epochs"].items()}

    def note(report: EpochReport) -> None:
        with (folder / EPOCHS).open("a") as told:
            told.write(json.dumps(report.to_dict()) + "\n")

    result = fit(
        model,
        ShardedRows.open(folder / "train", world),
        ShardedRows.open(folder / "validation", world) if given is None else None,
        config,
        Path(job["checkpoints"]),
        on_epoch=note,
        epochs=given,
        phase2_from=job["phase2_from"],
    )
    if world.first:
        save_result(folder, model, result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
