"""`kill -9` at random moments, then the same command: the tables of an undisturbed night, no stray, a free queue."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from pipeline.home.folder import Home
from pipeline.nights.schedules import IN_PROGRESS
from pipeline.resources.publication import Published
from pipeline.resources.publication import tables as published_tables
from pipeline.runs.queue import queue_of
from tests.pipeline.conftest import write_settings
from tests.pipeline.daemon import ROOT, Daemon
from tests.pipeline.running import EARLIER, LAST, MakeHome, night, start

pytestmark = pytest.mark.trial

TRIALS = range(10)
SMALL = {"preset": "trunk", "network": {"members": 2}}
"""A network that takes little of the time, so that the other steps are killed as often."""
FIRST_MINUTE = 60.0
CODE = ["-w", str(ROOT / "workspace.yaml")]
Build = Callable[[Path], float]


def once(folder: Path, name: str, build: Build) -> tuple[Path, float]:
    """A home by name, made by `build`, which returns the seconds of what it measures; made once for all trials of the
    same code."""
    home, noted = folder / name, folder / f"{name}.json"
    if not noted.exists():
        shutil.rmtree(home, ignore_errors=True)
        noted.write_text(json.dumps(build(home)))
    return home, json.loads(noted.read_text())


def make_small(home: Path) -> None:
    """Settings of the smallest training."""
    write_settings(home)
    settings = home / "settings.yaml"
    settings.write_text(yaml.safe_dump(yaml.safe_load(settings.read_text()) | SMALL))


def timed(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


@pytest.fixture(scope="module")
def kept_delivery(small_delivery: Path, trial_folder: Path) -> Path:
    """The small delivery, at a place that stays."""
    place = trial_folder / "delivery"
    if not place.exists():
        shutil.copytree(small_delivery, trial_folder / "delivery.part", dirs_exist_ok=True)
        (trial_folder / "delivery.part").rename(place)
    return place


@pytest.fixture(scope="module")
def trained(kept_delivery: Path, make_home: MakeHome, trial_folder: Path) -> tuple[Path, float]:
    """A home after its first night, which trained, and how long that took."""

    def build(home: Path) -> float:
        make_small(make_home(home))
        return timed(lambda: night(home, kept_delivery, LAST))

    return once(trial_folder, "trained", build)


@pytest.fixture(scope="module")
def scored(trained: tuple[Path, float], kept_delivery: Path, trial_folder: Path) -> tuple[Path, float]:
    """The same home after a second night, which only scored."""

    def build(home: Path) -> float:
        shutil.copytree(trained[0], home)
        return timed(lambda: night(home, kept_delivery, EARLIER))

    return once(trial_folder, "scored", build)


@pytest.fixture
def home(trial_folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where the home of one trial is made; it stays where the trial fails."""
    folder = trial_folder / re.sub(r"\W+", "-", request.node.name)  # polars reads brackets in a path as a pattern
    shutil.rmtree(folder, ignore_errors=True)
    failed = request.session.testsfailed
    yield folder
    if request.session.testsfailed == failed:
        shutil.rmtree(folder, ignore_errors=True)


def moment(kind: str, trial: int, seconds: float) -> float:
    """When a trial kills: another random moment in each, the same in each repetition."""
    return random.Random(f"{kind} {trial}").uniform(0.0, seconds)


def killed(home: Path, delivery: Path, as_of: str, after: float) -> None:
    """A night that is killed after some seconds, if it has not ended by then."""
    process = start(home, delivery, as_of)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def tables(home: Path) -> dict[tuple[str, str], pl.DataFrame]:
    """(table, date) → what is published, without the run."""
    lake = home / "lake"
    found = {
        (name, day): Published(lake, name).read(day) for name in published_tables(lake) for day in dates(lake, name)
    }
    return {key: frame.drop("run_id", strict=False) for key, frame in found.items()}


def dates(lake: Path, table: str) -> list[str]:
    """The published dates of a table."""
    return Published(lake, table).dates()


def ends_like(home: Path, undisturbed: Path) -> None:
    """The same tables, nothing else where readers look, no run left over."""
    found, expected = tables(home), tables(undisturbed)
    assert {"scores", "features/matrix", "quarantine/transactions", "drift", "skill"} <= {
        table for table, _ in expected
    }
    assert sorted(found) == sorted(expected)
    for (table, day), frame in expected.items():
        assert_frame_equal(found[table, day], frame, check_exact=True)
        pointer = Published(home / "lake", table).pointer(day)
        assert [file.suffix for file in pointer.iterdir()] == [".parquet"], "one file, and nothing beside it"
        assert {other.name for other in pointer.parent.iterdir()} <= {
            *(f"as_of={published}" for published in dates(home / "lake", table)),
            *(name.rpartition("/")[2] for name, _ in expected),
        }
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        queue = queue_of(instance, Home(home))
        assert (queue.running, queue.dead, queue.waiting, queue.holder) == ((), (), 0, None)


@pytest.mark.parametrize("trial", TRIALS)
def test_a_scoring_night_killed_at_any_moment(
    trial: int, trained: tuple[Path, float], scored: tuple[Path, float], kept_delivery: Path, home: Path
) -> None:
    shutil.copytree(trained[0], home)
    killed(home, kept_delivery, EARLIER, moment("scoring", trial, scored[1]))
    night(home, kept_delivery, EARLIER)
    ends_like(home, scored[0])


@pytest.mark.parametrize("trial", TRIALS)
def test_a_training_night_killed_at_any_moment(
    trial: int, trained: tuple[Path, float], kept_delivery: Path, make_home: MakeHome, home: Path
) -> None:
    make_small(make_home(home))
    killed(home, kept_delivery, LAST, moment("training", trial, trained[1]))
    night(home, kept_delivery, LAST)
    ends_like(home, trained[0])


@pytest.mark.parametrize("trial", TRIALS)
def test_the_first_minute_of_an_empty_home_killed_at_any_moment(
    trial: int, trained: tuple[Path, float], kept_delivery: Path, home: Path
) -> None:
    home.mkdir()
    make_small(home)
    killed(home, kept_delivery, LAST, moment("empty", trial, FIRST_MINUTE))
    night(home, kept_delivery, LAST)
    ends_like(home, trained[0])


def daemon_of(home: Path, delivery: Path) -> Daemon:
    """The daemon of a home, with the environment of a night."""
    return Daemon(home, CODE, {"DATA_DIR": str(delivery), "DATASET": "completejourney", "OMP_NUM_THREADS": "1"})


def until_scored(daemon: Daemon) -> None:
    """Wait until the date is scored and no run is left."""
    with dg.DagsterInstance.from_config(str(daemon.home / "dagster")) as instance:
        open_runs = dg.RunsFilter(statuses=[*IN_PROGRESS])

        def done() -> bool:
            made = instance.get_materialized_partitions(dg.AssetKey("scores"))
            return EARLIER in made and not instance.get_runs(open_runs)

        daemon.until(done)


@pytest.fixture(scope="module")
def asked(trained: tuple[Path, float], kept_delivery: Path, trial_folder: Path) -> tuple[Path, float]:
    """The trained home with a night in its queue and all automation on, and the seconds until a daemon has made it."""

    def build(home: Path) -> float:
        shutil.copytree(trained[0], home)
        with daemon_of(home, kept_delivery) as daemon:
            daemon.dagster("sensor", "start", "--start-all")
            daemon.dagster("job", "launch", "-j", "nightly", "--tags", json.dumps({"dagster/partition": EARLIER}))
        copy = home.with_name("undisturbed")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(home, copy)
        with daemon_of(copy, kept_delivery) as daemon:
            return timed(lambda: (daemon.start(), until_scored(daemon)))

    return once(trial_folder, "asked", build)


@pytest.mark.parametrize("trial", TRIALS)
def test_a_night_of_the_daemon_killed_with_it_at_any_moment(
    trial: int, asked: tuple[Path, float], scored: tuple[Path, float], kept_delivery: Path, home: Path
) -> None:
    shutil.copytree(asked[0], home)
    with daemon_of(home, kept_delivery) as daemon:
        daemon.start()
        time.sleep(moment("daemon", trial, asked[1]))
        daemon.kill()
        daemon.start()
        until_scored(daemon)
    ends_like(home, scored[0])
