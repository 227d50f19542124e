"""The registry and the layout of 734, and the state that is saved as data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from feature_assets import schema
from feature_assets.state import FeatureState, GroupState, StateError

SPEC = {
    "base": (0, 237),
    "multi_source": (238, 328),
    "domain": (329, 487),
    "multidisciplinary": (488, 511),
    "model_derived": (512, 538),
    "extended_source": (539, 622),
    "merchant": (623, 643),
    "raw_power_law": (644, 733),
}


def _state() -> FeatureState:
    present = [name for name in schema.names() if name.startswith("campaign__")]
    groups = {"campaign": GroupState({"prior": np.array([1.5, 2.5])}, {"rows": 3, "names": ["a", "b"]})}
    return FeatureState(groups, present)


def test_ranges_are_the_specification() -> None:
    assert schema.WIDTH == 734
    assert schema.normalised == 644
    assert {name: (first, end - 1) for name, (first, end) in schema.ranges().items()} == SPEC


def test_names_are_734_different_ones_and_groups_lie_in_their_parts() -> None:
    assert len(set(schema.names())) == 734
    assert sum(len(group.columns) for group in schema.registry().values()) == 734
    first, end = schema.ranges()["extended_source"]
    assert schema.group_positions("campaign") == tuple(range(first + 43, first + 55))
    assert end > first + 55
    first, _ = schema.ranges()["domain"]
    assert schema.group_positions("gmm") == tuple(range(first + 70, first + 92))
    assert schema.group_positions("base") == tuple(range(238))
    assert schema.group_positions("raw_power_law") == tuple(range(644, 734))


def test_every_column_says_what_it_is() -> None:
    for column in schema.columns():
        assert column.meaning, column.name
        assert column.unit, column.name
        assert column.window, column.name
        assert column.sources, column.name
    catalogue = schema.catalogue()
    assert catalogue.height == 734
    assert set(catalogue["group"]) == {name for name, group in schema.registry().items() if group.columns}


def test_groups_come_after_what_they_need() -> None:
    order = list(schema.registry())
    for name, group in schema.registry().items():
        assert all(order.index(need) < order.index(name) for need in group.needs)


def test_digest_depends_on_what_is_present_and_not_on_its_order() -> None:
    names = list(schema.names())
    assert schema.digest(names[:5]) == schema.digest(reversed(names[:5]))
    assert schema.digest(names[:5]) != schema.digest(names[:6])
    with pytest.raises(schema.SchemaError, match="nowhere"):
        schema.digest(["nowhere"])


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


def test_python_objects_cannot_enter_a_state() -> None:
    with pytest.raises(StateError, match="vocabulary"):
        GroupState({"vocabulary": np.array(["a", None], dtype=object)})
