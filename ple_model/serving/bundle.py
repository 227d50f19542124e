"""A trained model as a folder: everything that scoring needs, and digests that say whether it is whole.

    model.json           network settings, each task's epoch, versions, notes, digests of the other files
    weights.safetensors  parameters and buffers
    tasks.json           each task's name, kind, unit, meaning, classes or brands, and what its uncertainty is; more
                         where it is described
    calibration.json     each task's calibrators, blend weight, uncertainty, base rates, region, map to natural units
    trees/               boosted trees of the tasks that blend them in, as text (`ple_model.boosting.files`)
    evaluation_fit/      where the model was fitted again after its evaluation (`save_refit`): weights, calibration and
                         trees of the fit that was evaluated; those above are of the fit that scores

Other files beside them (feature schema, fitted state, vocabularies) belong to the pipeline.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch

from ple_model.boosting.boosted import Boosted
from ple_model.boosting.files import Trees, load_trees, save_trees
from ple_model.config import ModelConfig
from ple_model.epochs import Epoch, Network, TaskEpochs
from ple_model.evaluation import calibration as calibrators
from ple_model.evaluation.blending import Halves, in_words
from ple_model.evaluation.calibration import Calibrator
from ple_model.evaluation.calibration.natural import NaturalMap
from ple_model.evaluation.uncertainty import TaskUncertainty
from ple_model.model import PLEClusterAdaTT
from ple_model.serving.files import digest_of_json, publish, sha256_of_file
from ple_model.serving.format import FORMAT, BundleError, refusal
from ple_model.tasks import kind_of

_MODEL, _WEIGHTS, _TASKS, _CALIBRATION = "model.json", "weights.safetensors", "tasks.json", "calibration.json"
_TREES = "trees"
EVALUATION_FIT = "evaluation_fit"

Fit = Literal["registered", "evaluation"]
"""The fit that scores, or the one whose figures stand in the evaluation. They are the same without a refit."""


@dataclass(frozen=True)
class TaskCalibration:
    """Calibration of one task: from its raw output to its prediction.

    Attributes:
        calibrator: reads the network's raw outputs, or those of the blend.
        uncertainty: of the task.
        halves: calibrators of network and trees, each alone, and the weight of the blend; None without trees.
        natural: from the prediction to its expected value in natural units; None where the label's unit is natural.
    """

    calibrator: Calibrator
    uncertainty: TaskUncertainty
    halves: Halves | None = None
    natural: NaturalMap | None = None

    @property
    def weight(self) -> float:
        """Share of the network in the prediction; 1 is the network alone."""
        return 1.0 if self.halves is None else self.halves.weight


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        model: on the CPU, in eval mode.
        calibration: by task.
        trees: task → its boosted trees, of the tasks that blend them in.
        classes: task → names of its classes, brands or outputs, where a prediction has several places.
        described: task → its entry of tasks.json.
        meta: notes of the training.
        digest: of everything that determines a score.
    """

    model: Network
    calibration: dict[str, TaskCalibration]
    trees: dict[str, Boosted]
    classes: dict[str, list[str]]
    described: dict[str, dict[str, Any]]
    meta: dict[str, Any]
    digest: str


def save_bundle(
    directory: Path,
    model: Network,
    calibration: Mapping[str, TaskCalibration],
    classes: Mapping[str, Sequence[str]],
    meta: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]] | None = None,
    trees: Mapping[str, Trees] | None = None,
) -> str:
    """Write the files; equal content gives equal bytes.

    Args:
        directory: of the bundle; created if needed.
        model: with trained weights.
        calibration: by task.
        classes: task → names of its classes, brands or outputs, where a prediction has several places.
        meta: notes of the training, JSON values.
        described: task → what people want to know of it (unit, meaning, window, …), JSON values for tasks.json.
        trees: task → boosted trees; those of tasks whose weight leaves them no share are not kept.

    Returns:
        The digest.

    Raises:
        BundleError: calibration or class names that do not fit the model's tasks.
    """
    read = _trees_read(trees or {}, calibration)
    _check_tasks(model.config, calibration, classes)
    _check_trees(model.config, calibration, read)
    directory.mkdir(parents=True, exist_ok=True)
    _save_weights(model, directory / _WEIGHTS)
    tasks = [
        {
            "unit": "",
            "meaning": "",
            **(described or {}).get(task.name, {}),
            **calibration[task.name].uncertainty.meanings(),
            "name": task.name,
            "kind": task.kind,
            "classes": list(classes.get(task.name, ())),
            "predicted_by": in_words(calibration[task.name].weight),
            "none_class": task.none_class or "",
        }
        for task in model.config.tasks
    ]
    publish(directory / _TASKS, _json(tasks))
    fitted = {
        name: {
            "calibrator": task.calibrator.to_dict(),
            "uncertainty": task.uncertainty.to_dict(),
            "halves": None if task.halves is None else task.halves.to_dict(),
            "natural": task.natural.to_dict() if task.natural else None,
        }
        for name, task in calibration.items()
    }
    publish(directory / _CALIBRATION, _json(fitted))
    names = [_WEIGHTS, _TASKS, _CALIBRATION]
    if read:
        names += [f"{_TREES}/{name}" for name in save_trees(directory / _TREES, read)]
    return _save_described(directory, model, names, meta)


def save_refit(
    directory: Path,
    evaluated: Path,
    model: Network,
    trees: Mapping[str, Trees],
    meta: Mapping[str, Any],
    told: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Write a bundle of two fits: of one that was evaluated, and of the same settings fitted again, which scores.

    Calibration, blend weights, classes and every other file are those of the evaluated bundle. The evaluated fit keeps
    a calibration of its own in `evaluation_fit/`, so that the new fit may have another one some day.

    Args:
        directory: of the new bundle; created if needed.
        evaluated: folder of the bundle that was evaluated.
        model: the same network with other weights.
        trees: of exactly the tasks that the evaluated bundle has trees of.
        meta: notes in place of those of the evaluated bundle where they have one name.
        told: task → entries in place of those of tasks.json.

    Returns:
        The digest, over both fits.

    Raises:
        BundleError: a model or trees of other settings, tasks or epochs; `evaluated` is no bundle or has two fits.
    """
    first = load_bundle(evaluated)
    if (evaluated / EVALUATION_FIT).exists():
        raise BundleError(f"{evaluated} holds two fits already; a refit starts from the one that was evaluated")
    if model.config != first.model.config or _epochs(model) != _epochs(first.model):
        raise BundleError("the model of a refit has other settings or epochs than the one that was evaluated")
    if wrong := sorted(set(trees) ^ set(first.trees)):
        raise BundleError(f"trees of a refit and of the evaluated fit differ: {', '.join(wrong)}")
    _check_trees(model.config, first.calibration, _trees_read(trees, first.calibration))
    shutil.copytree(evaluated, directory, dirs_exist_ok=True)
    beside = directory / EVALUATION_FIT
    beside.mkdir()
    shutil.move(directory / _WEIGHTS, beside)
    shutil.copy(directory / _CALIBRATION, beside)
    names = [_WEIGHTS, _TASKS, _CALIBRATION]
    _save_weights(model, directory / _WEIGHTS)
    if trees:
        shutil.move(directory / _TREES, beside)
        names += [f"{_TREES}/{name}" for name in save_trees(directory / _TREES, trees)]
    names += [str(file.relative_to(directory)) for file in sorted(beside.rglob("*")) if file.is_file()]
    tasks = [{**task, **(told or {}).get(task["name"], {})} for task in first.described.values()]
    publish(directory / _TASKS, _json(tasks))
    return _save_described(directory, model, names, {**first.meta, **meta})


def load_bundle(directory: Path, fit: Fit = "registered") -> Bundle:
    """Read a bundle onto the CPU, in eval mode.

    Args:
        directory: of the bundle.
        fit: the one that scores, or the one whose figures stand in the evaluation; one and the same without a refit.

    Raises:
        BundleError: a file that is missing, altered or of another format; weights of other names or shapes than the
            settings ask for; calibration or classes that do not fit the tasks.
    """
    directory = Path(directory)
    described = _read(directory / _MODEL)
    if why := refusal(described.get("format")):
        raise BundleError(f"{directory / _MODEL}: {why}")
    for name, digest in described["files"].items():
        if not (directory / name).resolve().is_relative_to(directory.resolve()):
            raise BundleError(f"{directory / _MODEL} names a file outside the bundle: {name!r}")
        if not (directory / name).exists():
            raise BundleError(f"{directory} lacks {name}; register the model again")
        if sha256_of_file(directory / name) != digest:
            raise BundleError(f"{directory / name} is not the file that was saved; register the model again")
    if digest_of_json({key: described[key] for key in ("format", "config", "epochs", "files")}) != described["digest"]:
        raise BundleError(f"{directory / _MODEL} was altered: its digest does not fit its content")
    try:
        config = ModelConfig.from_dict(described["config"])
    except ValueError as error:
        raise BundleError(f"{directory / _MODEL}: settings that this code does not know: {error}") from error
    own = directory
    if fit == "evaluation" and f"{EVALUATION_FIT}/{_WEIGHTS}" in described["files"]:
        own = directory / EVALUATION_FIT
    tasks = _read(directory / _TASKS)
    classes = {task["name"]: task["classes"] for task in tasks if task["classes"]}
    calibration = {
        name: TaskCalibration(
            calibrators.from_dict(fitted["calibrator"]),
            TaskUncertainty.from_dict(fitted["uncertainty"]),
            Halves.from_dict(fitted["halves"]) if fitted["halves"] else None,
            NaturalMap.from_dict(fitted["natural"]) if fitted.get("natural") else None,
        )
        for name, fitted in _read(own / _CALIBRATION).items()
    }
    has_trees = any(name.startswith(f"{_TREES}/") for name in described["files"])
    trees = _trees_read(load_trees(own / _TREES) if has_trees else {}, calibration)
    _check_tasks(config, calibration, classes)
    _check_trees(config, calibration, trees)
    return Bundle(
        model=_load_model(config, described["epochs"], own / _WEIGHTS),
        calibration=calibration,
        trees=trees,
        classes=classes,
        described={task["name"]: task for task in tasks},
        meta=described["meta"],
        digest=described["digest"],
    )


def _save_weights(model: Network, path: Path) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    publish(path, safetensors.torch.save(weights))


def _save_described(directory: Path, model: Network, files: Sequence[str], meta: Mapping[str, Any]) -> str:
    """Write model.json over these files; the digest."""
    content = {
        "format": FORMAT,
        "config": model.config.to_dict(),
        "epochs": _epochs(model),
        "files": {name: sha256_of_file(directory / name) for name in files},
    }
    digest = digest_of_json(content)
    versions = {"torch": torch.__version__, "safetensors": safetensors.__version__}
    publish(directory / _MODEL, _json({**content, "digest": digest, "versions": versions, "meta": dict(meta)}))
    return digest


def _epochs(model: Network) -> dict[str, Epoch] | None:
    """Task → its epoch; None where all tasks share one."""
    return model.epochs if isinstance(model, TaskEpochs) else None


def _load_model(config: ModelConfig, epochs: Mapping[str, Sequence[int]] | None, path: Path) -> Network:
    model: Network
    with torch.random.fork_rng(devices=[]):  # the weights are overwritten; the caller's draws stay as they are
        if epochs is None:
            model = PLEClusterAdaTT(config)
        else:
            model = TaskEpochs(config, {task: (phase, epoch) for task, (phase, epoch) in epochs.items()})
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
        if task.none_class is not None and task.none_class not in classes.get(task.name, ()):
            raise BundleError(f"task {task.name}: its none_class {task.none_class!r} is none of its classes")


def _trees_read(trees: Mapping[str, Trees], calibration: Mapping[str, TaskCalibration]) -> dict[str, Boosted]:
    """The trees that have a share in a prediction: of tasks whose kind is blended, on the flat columns."""
    return {
        name: grown
        for name, grown in trees.items()
        if name in calibration and calibration[name].weight < 1 and isinstance(grown, Boosted)
    }


def _check_trees(config: ModelConfig, calibration: Mapping[str, TaskCalibration], trees: Mapping[str, Boosted]) -> None:
    for name, task in calibration.items():
        if task.weight < 1 and name not in trees:
            raise BundleError(f"task {name} is blended with trees ({in_words(task.weight)}) that are not there")
    for name, boosted in trees.items():
        if boosted.features != len(config.inputs.present):
            raise BundleError(
                f"the trees of {name} read {boosted.features} columns, the inputs have {len(config.inputs.present)}"
            )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BundleError(f"{path.parent} is no bundle: it lacks {path.name}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from error


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
