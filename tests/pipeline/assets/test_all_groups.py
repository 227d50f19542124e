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
from pipeline.settings import Settings
from pipeline.shards.work import frames
from tests.deliveries import synthetic


@pytest.fixture(scope="module")
def whole() -> Tables:
    return synthetic.tables(60, seed=4)


@pytest.fixture(scope="module")
def state(whole: Tables) -> FeatureState:
    return fit_state(synthetic.training_tables(whole), synthetic.TRAIN, seed=0)


def context(steps: list[str] | None = None, assets: set[dg.AssetKey] | None = None, run_id: str = "r1") -> Any:
    run = SimpleNamespace(step_keys_to_execute=steps, asset_selection=assets)
    return SimpleNamespace(run=run, run_id=run_id, log=logging.getLogger("all_groups"))


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
    state.save(tmp_path / "state")
    settings = Settings(home=tmp_path)

    def computed(given: Any) -> tuple[Path, str]:
        return all_groups.computed(given, lake, views, tmp_path / "state", Lost(), settings)

    folder, told = computed(context())
    assert told.startswith("3 of 60 customers; runner: in the process of the run; kept of an earlier attempt: 0")
    for name, frame in expected.items():
        assert frames(folder, name).collect().equals(frame, null_equal=True), name
    made = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert computed(context()) == (folder, told)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == made
    assert [*strays(tmp_path / "lake")] == [folder], "a killed run leaves what housekeeping removes"
    again, told = computed(context(run_id="r2"))
    assert again == folder
    assert "kept of an earlier attempt: 3" in told, "another run takes up what a killed one finished"
    one = {dg.AssetKey(["features", "gmm"])}
    folder, _ = computed(context(assets=one))
    assert {file.stem for file in folder.glob("*/*.parquet")} == {"gmm"}
    assert frames(folder, "gmm").collect().equals(expected["gmm"], null_equal=True)
    assert [*strays(tmp_path / "lake")] == [folder], "a step keeps one folder"
    all_groups.forget(lake, settings)
    assert not [*strays(tmp_path / "lake")]
