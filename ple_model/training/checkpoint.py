"""The state of a training run on disk: tensors in safetensors, everything else in a JSON that a person can read.

A checkpoint is two files: `checkpoint.json` names the tensors' file and its digest, and is renamed into place last.
A process killed at any instant leaves the previous checkpoint whole.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ple_model.serving.files import publish, sha256_of_file

log = logging.getLogger(__name__)

_INDEX = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name (on the CPU) and `state`, plain JSON values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(directory: Path, name: str, checkpoint: Checkpoint, identity: Mapping[str, str]) -> None:
    """Publish a checkpoint and remove the one before it.

    Args:
        directory: created if needed.
        name: of this state, unique within the run ("phase1-epoch003").
        identity: part of the run (model, settings, data, …) → its digest; `load_checkpoint` asks for the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = directory / f"{name}.safetensors"
    publish(tensors, safetensors.torch.save({key: value.contiguous() for key, value in checkpoint.tensors.items()}))
    index = {
        "tensors": tensors.name,
        "sha256": sha256_of_file(tensors),
        "identity": dict(identity),
        "state": checkpoint.state,
    }
    publish(directory / _INDEX, json.dumps(index, indent=1, allow_nan=False).encode())
    for old in [*directory.glob("*.safetensors"), *directory.glob(".*.part")]:
        if old != tensors:
            old.unlink(missing_ok=True)


def load_checkpoint(directory: Path, identity: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint of the same run, or None.

    None (with a warning that says why) where the checkpoint belongs to another run, that is another model, other
    settings, data or initial weights, and where its files are damaged: the run then starts from the beginning.
    """
    index_path = directory / _INDEX
    if not index_path.exists():
        return None
    try:
        index = json.loads(index_path.read_text())
        tensors = directory / index["tensors"]
        if not tensors.exists() or sha256_of_file(tensors) != index["sha256"]:
            raise ValueError(f"{tensors.name} is missing or was altered")
        differing = sorted(part for part in {*identity, *index["identity"]} if _differs(part, identity, index))
        if differing:
            log.warning("%s belongs to another run (different: %s); starting afresh", directory, ", ".join(differing))
            return None
        return Checkpoint(safetensors.torch.load(tensors.read_bytes()), index["state"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        log.warning("checkpoint in %s cannot be used (%s); starting afresh", directory, error)
        return None


def _differs(part: str, identity: Mapping[str, str], index: Mapping[str, Any]) -> bool:
    return identity.get(part) != index["identity"].get(part)
