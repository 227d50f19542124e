"""A trained model as a folder: everything that scoring needs, and digests that say whether it is whole.

    model.json           network settings, versions, notes, digests of the other files
    weights.safetensors  parameters and buffers
    tasks.json           each task's name, kind, unit, meaning, classes or brands, and what its uncertainty is; more
                         where it is described
    calibration.json     each task's calibrator, uncertainty, base rates and region

Other files beside them (feature schema, fitted state, vocabularies) belong to the pipeline.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from ple_model.config import ModelConfig
from ple_model.evaluation import calibration as calibrators
from ple_model.evaluation.calibration import Calibrator
from ple_model.evaluation.uncertainty import TaskUncertainty
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.files import digest_of_json, publish, sha256_of_file
from ple_model.tasks import kind_of

FORMAT = 1

_MODEL, _WEIGHTS, _TASKS, _CALIBRATION = "model.json", "weights.safetensors", "tasks.json", "calibration.json"


class BundleError(ValueError):
    """A folder that is no bundle, was altered, or contradicts itself; the message names the file and the remedy."""


@dataclass(frozen=True)
class TaskCalibration:
    """Calibration of one task: from its raw output to its prediction."""

    calibrator: Calibrator
    uncertainty: TaskUncertainty


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        model: on the CPU, in eval mode.
        calibration: by task.
        classes: task → names of its classes, brands or outputs, where a prediction has several places.
        described: task → its entry of tasks.json.
        meta: notes of the training.
        digest: of everything that determines a score.
    """

    model: PLEClusterAdaTT
    calibration: dict[str, TaskCalibration]
    classes: dict[str, list[str]]
    described: dict[str, dict[str, Any]]
    meta: dict[str, Any]
    digest: str


def save_bundle(
    directory: Path,
    model: PLEClusterAdaTT,
    calibration: Mapping[str, TaskCalibration],
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Write the four files; equal content gives equal bytes.

    Args:
        directory: of the bundle; created if needed.
        model: with trained weights.
        calibration: by task.
        classes: task → names of its classes, brands or outputs, where a prediction has several places.
        meta: notes of the training, JSON values.
        described: task → what people want to know of it (unit, meaning, window, …), JSON values for tasks.json.

    Returns:
        The digest.

    Raises:
        BundleError: calibration or class names that do not fit the model's tasks.
    """
    _check_tasks(model.config, calibration, classes)
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    publish(directory / _WEIGHTS, safetensors.torch.save(weights))
    tasks = [
        {
            "unit": "",
            "meaning": "",
            **(described or {}).get(task.name, {}),
            **calibration[task.name].uncertainty.meanings(),
            "name": task.name,
            "kind": task.kind,
            "classes": list(classes.get(task.name, ())),
        }
        for task in model.config.tasks
    ]
    publish(directory / _TASKS, _json(tasks))
    fitted = {
        name: {"calibrator": task.calibrator.to_dict(), "uncertainty": task.uncertainty.to_dict()}
        for name, task in calibration.items()
    }
    publish(directory / _CALIBRATION, _json(fitted))
    content = {
        "format": FORMAT,
        "config": model.config.to_dict(),
        "files": {name: sha256_of_file(directory / name) for name in (_WEIGHTS, _TASKS, _CALIBRATION)},
    }
    digest = digest_of_json(content)
    versions = {"torch": torch.__version__, "safetensors": safetensors.__version__}
    publish(directory / _MODEL, _json({**content, "digest": digest, "versions": versions, "meta": dict(meta)}))
    return digest


def load_bundle(directory: Path) -> Bundle:
    """Read a bundle onto the CPU, in eval mode.

    Raises:
        BundleError: a file that is missing, altered or of another format; weights of other names or shapes than the
            settings ask for; calibration or classes that do not fit the tasks.
    """
    directory = Path(directory)
    described = _read(directory / _MODEL)
    if described.get("format") != FORMAT:
        raise BundleError(f"{directory / _MODEL} has format {described.get('format')}, this code reads {FORMAT}")
    for name, digest in described["files"].items():
        if not (directory / name).exists():
            raise BundleError(f"{directory} lacks {name}; register the model again")
        if sha256_of_file(directory / name) != digest:
            raise BundleError(f"{directory / name} is not the file that was saved; register the model again")
    if digest_of_json({key: described[key] for key in ("format", "config", "files")}) != described["digest"]:
        raise BundleError(f"{directory / _MODEL} was altered: its digest does not fit its content")
    try:
        config = ModelConfig.from_dict(described["config"])
    except ValueError as error:
        raise BundleError(f"{directory / _MODEL}: settings that this code does not know: {error}") from error
    tasks = _read(directory / _TASKS)
    classes = {task["name"]: task["classes"] for task in tasks if task["classes"]}
    calibration = {
        name: TaskCalibration(
            calibrators.from_dict(fitted["calibrator"]), TaskUncertainty.from_dict(fitted["uncertainty"])
        )
        for name, fitted in _read(directory / _CALIBRATION).items()
    }
    _check_tasks(config, calibration, classes)
    return Bundle(
        model=_load_model(config, directory / _WEIGHTS),
        calibration=calibration,
        classes=classes,
        described={task["name"]: task for task in tasks},
        meta=described["meta"],
        digest=described["digest"],
    )


def _load_model(config: ModelConfig, path: Path) -> PLEClusterAdaTT:
    with torch.random.fork_rng(devices=[]):  # the weights are overwritten; the caller's draws stay as they are
        model = PLEClusterAdaTT(config)
    weights = safetensors.torch.load(path.read_bytes())
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        name = wrong[0]
        raise BundleError(
            f"{path}: {len(wrong)} tensors do not fit the settings, the first {name}: {found.get(name, 'missing')} "
            f"where {wanted.get(name, 'nothing')} is wanted"
        )
    model.load_state_dict(weights)
    return model.eval()


def _check_tasks(
    config: ModelConfig, calibration: Mapping[str, TaskCalibration], classes: Mapping[str, Sequence[str]]
) -> None:
    for task in config.tasks:
        if task.name not in calibration:
            raise BundleError(f"task {task.name} has no calibration")
        shape = kind_of(task).shape(task)
        fitted, wanted = calibration[task.name].calibrator, kind_of(task).calibrator(np.zeros((0, *shape)))
        if not isinstance(fitted, wanted):
            raise BundleError(f"task {task.name} is {task.kind}, its calibrator is for {fitted.kind}")
        if shape and len(classes.get(task.name, ())) != shape[0]:
            raise BundleError(f"task {task.name} has {shape[0]} outputs and {len(classes.get(task.name, ()))} names")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BundleError(f"{path.parent} is no bundle: it lacks {path.name}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from error


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
