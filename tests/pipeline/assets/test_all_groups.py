"""The groups of a large data set: those of the run and no others, the same frames as one by one, nothing left."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from feature_assets.build import compute_all, fit_state, groups_of
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.state import FeatureState
from pipeline.assets import all_groups
from pipeline.intake.lost_sources import Lost
from pipeline.resources.blocks import Views
from pipeline.resources.digests import seal
from pipeline.resources.files import strays
from pipeline.resources.lake import Lake
from tests.deliveries import synthetic


@pytest.fixture(scope="module")
def whole() -> Tables:
    return synthetic.tables(60, seed=4)


@pytest.fixture(scope="module")
def state(whole: Tables) -> FeatureState:
    return fit_state(synthetic.training_tables(whole), synthetic.TRAIN, seed=0)


def context(steps: list[str] | None = None, assets: set[dg.AssetKey] | None = None) -> Any:
    run = SimpleNamespace(step_keys_to_execute=steps, asset_selection=assets)
    return SimpleNamespace(run=run, run_id="r1", log=logging.getLogger("all_groups"))


def test_the_groups_of_a_run_are_those_that_it_materialises(state: FeatureState) -> None:
    two = {dg.AssetKey(["features", "base"]), dg.AssetKey(["features", "gmm"]), dg.AssetKey("scores")}
    assert list(all_groups.groups_of_run(context(), state)) == list(groups_of(state))
    assert set(all_groups.groups_of_run(context(assets=two), state)) == {"base", "gmm"}
    assert all_groups.groups_of_run(context(steps=["features__gmm", "scores"], assets=two), state) == ["gmm"]


def test_frames_are_those_of_the_whole_and_are_made_once(whole: Tables, state: FeatureState, tmp_path: Path) -> None:
    whole.save(tmp_path / "stored")
    seal(tmp_path / "stored")
    lake, views = Lake(root=str(tmp_path / "lake")), Views(tmp_path / "stored", synthetic.AS_OF, 25)
    expected = compute_all(View(whole, synthetic.AS_OF), state)
    folder = all_groups.computed(context(), lake, views, state, Lost())
    for name, frame in expected.items():
        assert all_groups.rows_of(folder, name).collect().equals(frame, null_equal=True), name
    made = folder.stat().st_mtime_ns
    assert all_groups.computed(context(), lake, views, state, Lost()) == folder
    assert folder.stat().st_mtime_ns == made
    assert [*strays(tmp_path / "lake")] == [folder], "a killed run leaves what housekeeping removes"
    all_groups.forget(lake, "r1")
    one = {dg.AssetKey(["features", "gmm"])}
    folder = all_groups.computed(context(assets=one), lake, views, state, Lost())
    assert [place.name for place in folder.iterdir()] == ["gmm"]
    assert all_groups.rows_of(folder, "gmm").collect().equals(expected["gmm"], null_equal=True)
    all_groups.forget(lake, "r1")
    assert not [*strays(tmp_path / "lake")]
