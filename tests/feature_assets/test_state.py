"""The fitted state that is saved as data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from feature_assets import registry
from feature_assets.group import GroupState, StateError
from feature_assets.state import FeatureState


def _state() -> FeatureState:
    present = [name for name in registry.names() if name.startswith("campaign__")]
    groups = {"campaign": GroupState({"prior": np.array([1.5, 2.5])}, {"rows": 3, "names": ["a", "b"]})}
    return FeatureState(groups, present)


def test_state_is_the_same_after_saving(tmp_path: Path) -> None:
    state = _state()
    state.save(tmp_path)
    loaded = FeatureState.load(tmp_path)
    assert loaded.version == state.version
    assert loaded.present == state.present
    assert loaded.groups["campaign"].meta == state.groups["campaign"].meta
    np.testing.assert_array_equal(loaded.groups["campaign"].arrays["prior"], [1.5, 2.5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.npz"]


def test_version_depends_on_every_value() -> None:
    state = _state()
    other_array = FeatureState(
        {"campaign": GroupState({"prior": np.array([1.5, 2.6])}, state.groups["campaign"].meta)}, state.present
    )
    other_meta = FeatureState({"campaign": GroupState(state.groups["campaign"].arrays, {"rows": 4})}, state.present)
    fewer = FeatureState(state.groups, state.present[:-1])
    assert len({s.version for s in (state, other_array, other_meta, fewer)}) == 4


def test_an_altered_or_foreign_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"state\.json is missing"):
        FeatureState.load(tmp_path)
    _state().save(tmp_path)
    described = json.loads((tmp_path / "state.json").read_text())
    altered = described | {"groups": {"campaign": described["groups"]["campaign"] | {"rows": 4}}}
    (tmp_path / "state.json").write_text(json.dumps(altered))
    with pytest.raises(StateError, match="not what was saved"):
        FeatureState.load(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps(described | {"schema": "0" * 12}))
    with pytest.raises(StateError, match="fitted under schema 000000000000"):
        FeatureState.load(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps(described | {"present": ["gone__column"]}))
    with pytest.raises(StateError, match="gone__column"):
        FeatureState.load(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "state.npz"])
def test_no_flipped_bit_makes_another_state(name: str, tmp_path: Path) -> None:
    """Each byte in turn: the state is refused in words, or is the same (a zip has fields that nobody reads)."""
    state = _state()
    state.save(tmp_path)
    content, refused = (tmp_path / name).read_bytes(), 0
    for at in range(len(content)):
        (tmp_path / name).write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            assert FeatureState.load(tmp_path).version == state.version
        except StateError as error:
            refused += str(tmp_path) in str(error)
    assert refused > len(content) / 3
