"""What a fit returns, as files: for a caller in another process than the one that trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
from torch import Tensor

from ple_model.epochs import Epoch
from ple_model.multitask import MultiTaskNetwork
from ple_model.serving.files import publish
from ple_model.training.report import EpochReport
from ple_model.training.trainer import FitResult

_RESULT, _WEIGHTS, _MODEL = "result.json", "result.safetensors", "model"


def save_weights(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Tensors by name as one file."""
    publish(file, safetensors.torch.save({name: value.contiguous() for name, value in weights.items()}))


def save_result(folder: Path, model: MultiTaskNetwork, result: FitResult) -> None:
    """Write what `fit` returned, and the weights that it left in `model`."""
    tensors = {f"{_MODEL}/{name}": value for name, value in model.state_dict().items()}
    for (phase, epoch), weights in result.weights.items():
        tensors |= {f"{phase}/{epoch}/{name}": value for name, value in weights.items()}
    save_weights(folder / _WEIGHTS, tensors)
    told = {key: value for key, value in vars(result).items() if key not in ("weights", "history")}
    history = [asdict(report) for report in result.history]
    publish(folder / _RESULT, json.dumps({**told, "history": history}).encode())


def load_result(folder: Path, model: MultiTaskNetwork) -> FitResult:
    """What `save_result` wrote; `model` gets the weights that the fit ended with, and is in eval mode.

    Raises:
        FileNotFoundError: there is none.
    """
    told = json.loads((folder / _RESULT).read_text())
    tensors = safetensors.torch.load_file(folder / _WEIGHTS)

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    model.load_state_dict(under(f"{_MODEL}/"))
    model.eval()
    epochs = {task: _epoch(epoch) for task, epoch in told["epochs"].items()}
    resumed = told["resumed_from"]
    return FitResult(
        **{
            **told,
            "best": _epoch(told["best"]),
            "epochs": epochs,
            "weights": {(p, e): under(f"{p}/{e}/") for p, e in sorted(set(epochs.values()))},
            "stopped_by": {int(phase): why for phase, why in told["stopped_by"].items()},
            "history": tuple(EpochReport.from_dict(report) for report in told["history"]),
            "resumed_from": None if resumed is None else _epoch(resumed),
        }
    )


def _epoch(pair: list[int]) -> Epoch:
    phase, epoch = pair
    return phase, epoch
