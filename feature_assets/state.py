"""The fitted state of all groups, as data: arrays (npz) and JSON, never pickle.

The state travels with the model that was trained on it and is loaded for scoring; `version` is a digest of its content,
so that a state fitted on anything else cannot pass for it. Source: FEATURES §2 rule 5, ARCHITECTURE §2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from feature_assets import registry
from feature_assets.group import GroupState, StateError

_ARRAYS, _META = "state.npz", "state.json"


@dataclass(frozen=True)
class FeatureState:
    """Fitted values of the groups that a data set has.

    Attributes:
        groups: group → its state; `groups["normalise"]` is the normaliser's.
        present: columns that the data set has, in schema order: what `assemble` writes and the model reads.
    """

    groups: Mapping[str, GroupState]
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
        """Digest of the schema with these columns present."""
        return registry.digest(self.present)

    def _description(self) -> dict[str, Any]:
        return {
            "present": self.present,
            "schema": self.schema_digest,
            "groups": {name: dict(group.meta) for name, group in self.groups.items()},
        }

    def _flat(self) -> dict[str, np.ndarray]:
        return {f"{name}/{key}": array for name, g in self.groups.items() for key, array in g.arrays.items()}

    def save(self, directory: Path) -> None:
        """Write `state.npz` and `state.json` into `directory`, which the caller publishes as a whole."""
        directory.mkdir(parents=True, exist_ok=True)
        # numpy's signature lets keyword arguments be its own options as well; no key here is one ("group/array")
        np.savez(directory / _ARRAYS, **self._flat())  # type: ignore[arg-type]  # one array a name, no flag
        described = {"version": self.version, **self._description()}
        (directory / _META).write_text(json.dumps(described, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> FeatureState:
        """Read what `save` wrote.

        Raises:
            StateError: it is missing, was altered, or belongs to another schema.
        """
        try:
            described = json.loads((directory / _META).read_text(encoding="utf-8"))
            with np.load(directory / _ARRAYS, allow_pickle=False) as stored:
                flat = {key: stored[key] for key in stored.files}
            groups = {
                name: GroupState({k.split("/", 1)[1]: a for k, a in flat.items() if k.split("/", 1)[0] == name}, meta)
                for name, meta in described["groups"].items()
            }
            known = str(described["schema"]), str(described["version"]), list(described["present"])
        except FileNotFoundError as error:
            raise StateError(f"{directory} holds no feature state: {Path(error.filename).name} is missing") from error
        except Exception as error:  # whatever a damaged file makes zip, numpy or json raise
            raise StateError(f"the state in {directory} cannot be read: {type(error).__name__}: {error}") from error
        schema, version, present = known
        try:
            state = cls(groups, present)
            now = state.schema_digest
        except registry.SchemaError as error:
            raise StateError(f"the state in {directory} was fitted under another schema: {error}") from error
        if now != schema:
            raise StateError(
                f"the state in {directory} was fitted under schema {schema}, this code has {now}; "
                "fit it again with the model that it belongs to"
            )
        if state.version != version:
            raise StateError(f"the state in {directory} is not what was saved: {state.version}, {version}")
        return state


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
