"""What was fitted on the training dates, as data: arrays (npz) and JSON, never pickle.

The state travels with the model that was trained on it and is loaded for scoring; `version` is a digest of its content,
so that a state fitted on anything else cannot pass for it. Source: FEATURES §2 rule 5, ARCHITECTURE §2.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from feature_assets import schema

_ARRAYS, _META = "state.npz", "state.json"


class StateError(ValueError):
    """A state that is incomplete, altered, or made for another schema."""


@dataclass(frozen=True)
class GroupState:
    """Fitted values of one group: `arrays` (no object dtype) and `meta` (JSON values)."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        objects = [name for name, array in self.arrays.items() if array.dtype.hasobject]
        if objects:
            raise StateError(f"arrays of Python objects cannot be stored without pickle: {objects}")


@dataclass(frozen=True)
class FeatureState:
    """Fitted values of every group that has any, and the columns that the data set has.

    `groups["normalise"]` is the normaliser's. `present` is in schema order: what `assemble` writes and the model reads.
    """

    groups: dict[str, GroupState]
    present: list[str]

    @cached_property
    def version(self) -> str:
        """12 hex digits of a digest of the content: every array, every meta value, `present` and the schema."""
        sha = hashlib.sha256(_canonical(self._description()).encode())
        for key, array in sorted(self._flat().items()):
            sha.update(f"{key} {array.dtype.str} {array.shape}".encode())
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()[:12]

    @cached_property
    def schema_digest(self) -> str:
        return schema.digest(self.present)

    def _description(self) -> dict[str, Any]:
        return {
            "present": self.present,
            "schema": self.schema_digest,
            "groups": {name: dict(group.meta) for name, group in self.groups.items()},
        }

    def _flat(self) -> dict[str, np.ndarray]:
        return {f"{name}/{key}": array for name, g in self.groups.items() for key, array in g.arrays.items()}

    def save(self, directory: Path) -> None:
        """Write `state.npz` and `state.json` into `directory`, each beside and then renamed."""
        directory.mkdir(parents=True, exist_ok=True)
        beside = directory / f"{_ARRAYS}.part"
        with beside.open("wb") as file:
            np.savez(file, **self._flat())  # type: ignore[arg-type]
        os.replace(beside, directory / _ARRAYS)
        beside = directory / f"{_META}.part"
        beside.write_text(json.dumps({"version": self.version, **self._description()}, indent=1), encoding="utf-8")
        os.replace(beside, directory / _META)

    @classmethod
    def load(cls, directory: Path) -> FeatureState:
        """Read what `save` wrote. StateError if it was altered or belongs to another schema."""
        try:
            described = json.loads((directory / _META).read_text(encoding="utf-8"))
            with np.load(directory / _ARRAYS, allow_pickle=False) as stored:
                flat = {key: stored[key] for key in stored.files}
        except FileNotFoundError as error:
            raise StateError(f"{directory} holds no feature state: {Path(error.filename).name} is missing") from error
        groups = {
            name: GroupState({k.split("/", 1)[1]: a for k, a in flat.items() if k.split("/", 1)[0] == name}, meta)
            for name, meta in described["groups"].items()
        }
        try:
            state = cls(groups, described["present"])
            now = state.schema_digest
        except schema.SchemaError as error:
            raise StateError(f"the state in {directory} was fitted under another schema: {error}") from error
        if now != described["schema"]:
            raise StateError(
                f"the state in {directory} was fitted under schema {described['schema']}, this code has {now}; "
                "fit it again with the model that it belongs to"
            )
        if state.version != described["version"]:
            raise StateError(f"the state in {directory} is not what was saved: {state.version}, {described['version']}")
        return state


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
