"""Whole nights on both data sets: the same bytes from a pool and from Ray, with a killed worker too."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml

from pipeline.resources.files import strays
from pipeline.resources.publication import Published, tables
from tests.pipeline.running import HANGS, LAST, MakeHome, night, start
from tests.pipeline.shards.conftest import POOLS
from tests.trials import small_bank

pytestmark = pytest.mark.trial
First = tuple[Path, Path, str]
"""A home after its first night, the delivery, the as-of date."""


@pytest.fixture(scope="module", params=["completejourney", small_bank.DATASET])
def first(request: pytest.FixtureRequest, small_delivery: Path, make_home: MakeHome, trial_folder: Path) -> First:
    bank = request.param == small_bank.DATASET
    home = trial_folder / request.param
    delivery, as_of = (small_bank.delivery(trial_folder), small_bank.LAST) if bank else (small_delivery, LAST)
    if not home.exists():
        beside = make_home(trial_folder / f"{request.param}.part")
        change(beside, dataset=request.param)
        night(beside, delivery, as_of)
        beside.rename(home)
    return home, delivery, as_of


def change(home: Path, **settings: object) -> None:
    file = home / "settings.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))


def copied(first: First, to: Path, **settings: object) -> Path:
    """The home, whose next night works in blocks of customers."""
    home = Path(shutil.copytree(first[0], to, symlinks=True))
    change(home, customers_at_a_time=60, **settings)
    return home


def assert_same(home: Path, first: First) -> None:
    """The bytes of scores and drift and the rows of the features are those of the first night."""
    one, other = home / "lake", first[0] / "lake"
    for table in ("scores", "drift"):
        ours, theirs = (Published(lake, table).file(first[2]).read_bytes() for lake in (one, other))
        assert ours == theirs, table
    for table in tables(other):
        if table.startswith("features/"):
            found, expected = (Published(lake, table).read(first[2]) for lake in (one, other))
            assert found.equals(expected, null_equal=True), table


def told(home: Path, *asset: str) -> str:
    """What the newest materialisation of an asset says of its shards."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey([*asset]))
        assert event is not None
        assert event.asset_materialization is not None
        return str(event.asset_materialization.metadata["shards"].value)


@pytest.mark.parametrize("kind", POOLS)
def test_the_same_bytes_by_every_runner(kind: str, first: First, tmp_path: Path) -> None:
    home = copied(first, tmp_path / "home", runner=kind, workers=2)
    printed = night(home, *first[1:])
    assert_same(home, first)
    assert not [*strays(home / "lake")]
    for asset in (("scores",), ("features", "matrix"), ("features", "base"), ("features", "gmm")):
        assert f"runner: 2 workers, {'Ray' if kind == 'ray' else kind}; kept of an earlier attempt: 0" in told(
            home, *asset
        )
    assert "scoring only" in printed


@pytest.mark.parametrize("kind", POOLS)
def test_a_worker_killed_in_the_middle_of_a_shard_changes_nothing(kind: str, first: First, tmp_path: Path) -> None:
    home = copied(first, tmp_path / "home", runner=kind, workers=2)
    process = start(home, *first[1:])
    deadline = time.monotonic() + HANGS
    killed = False
    while not killed and process.poll() is None and time.monotonic() < deadline:
        if [*(home / "lake").glob(".shards-groups-*.part/.*.part")]:
            killed = kill_worker(process.pid, kind)
        time.sleep(0.02)
    output = process.communicate(timeout=HANGS)[0]
    assert process.returncode == 0, output
    assert killed
    assert_same(home, first)
    assert "computed again: 1" in told(home, "features", "base")


def kill_worker(pid: int, kind: str) -> bool:
    """SIGKILL to one process that computes a shard of a night."""
    for child in psutil.Process(pid).children(recursive=True):
        try:
            words = " ".join(child.cmdline())
            computes = words.startswith("ray::") and "shard" in words if kind == "ray" else "spawn_main" in words
            if computes:
                child.kill()
                return True
        except psutil.Error:
            continue
    return False
