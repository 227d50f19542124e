"""A training of the sample model by this process, or by its share of the processes that torchrun started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ple_model.training.distributed import World, process_group
from ple_model.training.shards import ShardedRows, write_shards
from ple_model.training.trainer import fit
from tests.ple_model import samples


def trained(given: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    """Weights by name, and the losses of each epoch.

    Args:
        given: settings of the training; `adatt`, `autoencoder`: whether the model has them; `sharded`: whether each
            process reads its own rows from mapped files.
        folder: of these files, shared by all processes.
    """
    settings, world = dict(given), World.current()
    parts = (settings.pop(part, True) for part in ("adatt", "autoencoder"))
    model, train, valid = samples.without_dropout(320, *parts)
    if settings.pop("sharded", False):
        if world.first:
            for name, table in (("train", train), ("valid", valid)):
                write_shards(table, folder / name, 50)
        world.wait()
        train, valid = (ShardedRows.open(folder / name, world) for name in ("train", "valid"))
    epochs = {"phase1_epochs": 4, "phase2_epochs": 0, "warmup_epochs": 0, "batch_size_cpu": 64}
    result = fit(model, train, valid, samples.training(**(epochs | settings)), None, progress=False)
    found = {name: value.contiguous() for name, value in model.state_dict().items()}
    return found | {f"loss of epoch {r.epoch}": torch.tensor([r.loss, *r.valid_loss.values()]) for r in result.history}


def main(out: Path, runs: list[dict[str, Any]]) -> None:
    """Train once for each settings; the first process writes `<number>.safetensors`."""
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    with process_group() as world:
        for number, settings in enumerate(runs):
            found = trained(settings, out / str(number))
            if world.first:
                save_file(found, out / f"{number}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
