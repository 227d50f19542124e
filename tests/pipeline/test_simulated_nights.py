"""Whole nights of the small bank simulation, with every task and every feature group: trained, repeated, killed, fed
with bad rows."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from feature_assets.labels import every_task
from tests.deliveries.sources import CONTRACT_FILES
from tests.deliveries.spoilt import spoil
from tests.pipeline.running import MakeHome, night, score_file, set_aside, start
from tests.trials import small_bank

pytestmark = pytest.mark.trial


@pytest.fixture(scope="module")
def bank(trial_folder: Path) -> Path:
    return small_bank.delivery(trial_folder)


@pytest.fixture(scope="module")
def home_of(make_home: MakeHome, trial_folder: Path) -> Callable[[str], Path]:
    """A home for the simulation by name; one that a killed run left is taken up."""

    def make(name: str) -> Path:
        home = trial_folder / name
        if not home.exists():
            beside = make_home(trial_folder / f"{name}.part")
            settings = beside / "settings.yaml"
            described = yaml.safe_load(settings.read_text()) | {"dataset": small_bank.DATASET}
            settings.write_text(yaml.safe_dump(described))
            beside.rename(home)
        return home

    return make


@pytest.fixture(scope="module")
def first(bank: Path, home_of: Callable[[str], Path]) -> tuple[Path, float]:
    """A home after its first night, and the seconds that it took."""
    home = home_of("first")
    noted = home / "seconds.json"
    if not noted.exists():
        started = time.monotonic()
        night(home, bank)
        noted.write_text(json.dumps(time.monotonic() - started))
    return home, json.loads(noted.read_text())


def scores(home: Path, as_of: str = small_bank.LAST) -> pl.DataFrame:
    return pl.read_parquet(score_file(home, as_of), hive_partitioning=False)


def test_every_task_is_trained_and_scored(first: tuple[Path, float]) -> None:
    frame = scores(first[0])
    assert {task.name for task in every_task() if task.default} <= set(frame.columns)
    assert frame.height == frame["customer_id"].n_unique() > 0.9 * small_bank.CUSTOMERS
    withheld = {task.name for task in every_task() if task.eligibility.withheld}
    for column in frame.iter_columns():
        task, _, suffix = column.name.partition("__")
        if suffix != "u" and not (task in withheld and suffix == ""):
            assert column.null_count() == 0, column.name


def test_scoring_again_gives_the_same_bytes(first: tuple[Path, float], bank: Path) -> None:
    before = score_file(first[0], small_bank.LAST).read_bytes()
    assert "scoring only" in night(first[0], bank)
    assert score_file(first[0], small_bank.LAST).read_bytes() == before


def test_an_earlier_date_is_marked_as_hindsight(first: tuple[Path, float], bank: Path) -> None:
    night(first[0], bank, small_bank.EARLIER)
    assert scores(first[0], small_bank.EARLIER)["hindsight"].all()
    assert not scores(first[0])["hindsight"].any()


@pytest.mark.parametrize("trains", [False, True])
def test_bad_rows_change_nothing_of_a_night(
    trains: bool,
    first: tuple[Path, float],
    bank: Path,
    home_of: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    delivery = tmp_path / "delivery"
    bad = spoil(CONTRACT_FILES, bank, delivery)
    home = home_of("spoilt") if trains else Path(shutil.copytree(first[0], tmp_path / "home"))
    night(home, delivery)
    assert set_aside(home, small_bank.LAST) == set_aside(first[0], small_bank.LAST) + bad
    assert_frame_equal(scores(home).drop("run_id"), scores(first[0]).drop("run_id"), check_exact=True)


@pytest.mark.parametrize("share", [0.15, 0.3, 0.45, 0.6, 0.75, 0.9])
def test_killed_at_any_time_the_next_night_gives_the_same_scores(
    share: float, first: tuple[Path, float], bank: Path, home_of: Callable[[str], Path]
) -> None:
    home = home_of(f"killed-{share}")
    process = start(home, bank)
    try:
        process.communicate(timeout=share * first[1])
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    night(home, bank)
    assert_frame_equal(scores(home).drop("run_id"), scores(first[0]).drop("run_id"), check_exact=True)
