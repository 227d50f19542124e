"""A home can be made, copied, moved and restored; what cannot be one is refused with a reason."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest
import yaml
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from pipeline.home.artifact_locations import COLUMNS
from pipeline.home.folder import BESIDE, Home, HomeError
from pipeline.resources.tracking import CHAMPION, MODEL, Tracking
from tests.pipeline.home.test_locks import held_elsewhere
from tests.pipeline.runs.test_runs import launched
from tests.pipeline.stores import tracking_uri


def tracking(home: Home) -> Tracking:
    return Tracking(uri=tracking_uri(home.root), artifacts=str(home.mlflow / "artifacts"), dataset="toy")


def locations(home: Home) -> list[str]:
    """Every location in the home's database."""
    with create_engine(tracking_uri(home.root), poolclass=NullPool).connect() as connection:
        found = [connection.exec_driver_sql(f"SELECT {column} FROM {table}").all() for table, column in COLUMNS]
    return [value for rows in found for (value,) in rows if value]


@pytest.fixture(scope="module")
def lived_in(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a registered champion of two JSON documents, and a run with an artifact."""
    home = Home(tmp_path_factory.mktemp("lived") / "home")
    shutil.copytree(prepared, home.root)
    home.prepare()
    live_in(home, tmp_path_factory.mktemp("bundle"))
    return home


def live_in(home: Home, folder: Path) -> None:
    """Register a champion of two JSON documents, and a run with an artifact."""
    server = tracking(home)
    run = server.start_run("training", {})
    server.log_json(run, {"a": 1}, "facts.json")
    bundle = folder / "bundle"
    bundle.mkdir()
    (bundle / "tasks.json").write_text(json.dumps([{"name": "churn"}]))
    mlflow = server._mlflow
    with server._run(run):
        logged = mlflow.pyfunc.log_model(name="model", loader_module="json", data_path=str(bundle), pip_requirements=[])
    server.client.create_registered_model(MODEL)
    tags = {"as_of": "2018-01-01", "state_version": "s", "dataset": "toy"}
    version = server.client.create_model_version(MODEL, logged.model_uri, run, tags=tags)
    server.set_alias(CHAMPION, version.version)


def works(home: Home) -> None:
    """The champion is found and read in this home; a run writes into it; Dagster opens it."""
    server = tracking(home)
    champion = server.champion()
    assert champion is not None
    assert champion.folder.is_relative_to(home.root)
    assert server.read_json(champion, "tasks.json") == [{"name": "churn"}]
    before = set((home.mlflow / "artifacts").rglob("*.json"))
    server.log_json(server.start_run("again", {}), {"b": 2}, "more.json")
    assert [file.name for file in set((home.mlflow / "artifacts").rglob("*.json")) - before] == ["more.json"]
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        assert instance.get_runs() == []
    assert all(
        value.startswith((home.mlflow / "artifacts").as_uri()) or "models:/" in value for value in locations(home)
    )


@pytest.mark.parametrize("name", ["elsewhere", "a #1 'q' \"d\" ü; b&c=d @:x"])
def test_a_copied_home_works_without_the_original(lived_in: Home, tmp_path: Path, name: str) -> None:
    original, copy = Home(tmp_path / "original"), Home(tmp_path / name)
    shutil.copytree(lived_in.root, original.root)
    original.prepare()
    works(original)
    shutil.copytree(original.root, copy.root)
    shutil.rmtree(original.root)
    copy.prepare()
    works(copy)
    assert not original.root.exists(), "the copy wrote into the original"
    before = copy.database.read_bytes()
    copy.prepare()
    assert copy.database.read_bytes() == before, "opening it once more changes nothing"


def test_a_run_that_no_command_started_finds_the_model_of_a_copied_home(lived_in: Home, tmp_path: Path) -> None:
    """A daemon of Dagster's own prepares nothing: the run does it."""
    copy = Home(tmp_path / "home")
    shutil.copytree(lived_in.root, copy.root)
    assert not all(value.startswith((copy.mlflow / "artifacts").as_uri()) for value in locations(copy))
    with dg.DagsterInstance.from_config(str(copy.dagster)) as instance:
        assert launched(copy.root, instance).success
    champion = tracking(copy).champion()
    assert champion is not None
    assert champion.folder.is_relative_to(copy.root)


def test_a_moved_home_whose_old_path_is_the_beginning_of_the_new_one(lived_in: Home, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(lived_in.root, home.root)
    home.prepare()
    moved = Home(tmp_path / "home2")
    home.root.rename(moved.root)
    moved.prepare()
    works(moved)


def test_the_default_experiment_lies_in_the_home(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(prepared, home.root)
    with closing(sqlite3.connect(home.database)) as connection, connection:  # as MLflow itself makes it
        connection.execute("UPDATE experiments SET artifact_location = '/clone/mlruns/0'")
    home.prepare()
    monkeypatch.chdir(tmp_path)
    assert tracking(home).client.get_experiment("0").artifact_location == (home.mlflow / "artifacts" / "0").as_uri()
    assert not (tmp_path / "mlruns").exists()


def test_locations_elsewhere_stay_as_they_are(prepared: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(prepared, home.root)
    home.prepare()
    id_ = tracking(home).client.create_experiment("shared", artifact_location="s3://bucket/mlflow")
    moved = Home(tmp_path / "moved")
    home.root.rename(moved.root)
    moved.prepare()
    assert tracking(moved).client.get_experiment(id_).artifact_location == "s3://bucket/mlflow"


@pytest.mark.parametrize(
    ("place", "words"),
    [("a%20b", "'%'"), ("a?b", "'?'"), ("file", "is no folder"), ("file/below", "is no folder")],
)
def test_what_cannot_be_a_home_is_refused(place: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HomeError, match=f"{tmp_path}.*") as refused:
        Home(tmp_path / place).prepare()
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(HomeError, match="cannot be written"):
        Home(tmp_path / "home").prepare()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(HomeError, match=r"lake: the file system is read-only\. Mount it writable"):
        Home(tmp_path / "home").prepare()


def test_a_damaged_database_is_named(prepared: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(prepared, home.root)
    home.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(
        HomeError, match=r"mlflow\.db cannot be opened: the database is damaged\. Restore its file from a backup"
    ):
        home.prepare()


def test_a_database_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.home.folder.CREATE_DATABASE", "raise OSError('disk is full')")
    home = Home(tmp_path / "home")
    with pytest.raises(HomeError, match=r"could not be created: OSError: disk is full"):
        home.prepare()
    assert {path.name for path in home.mlflow.iterdir()} == {"artifacts"}


CREATE_AND_DIE = """
import sys, os, signal
from pathlib import Path
Path(sys.argv[1].removeprefix("sqlite:///")).write_bytes(b"half of it")
os.kill(os.getppid(), signal.SIGKILL)
"""


def test_a_kill_while_the_database_is_made_leaves_a_home_that_starts(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half-made file never bears the database's name, and the lock goes with the killed process."""
    home = Home(tmp_path / "home")
    start = f"home.CREATE_DATABASE = {CREATE_AND_DIE!r}; home.Home(home.Path({str(home.root)!r})).prepare()"
    code = f"from pipeline.home import folder as home; {start}"
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not home.database.exists()
    assert len(list(home.mlflow.glob(f"{BESIDE}*"))) == 1
    (home.dagster / f"{BESIDE}dagster.yaml").write_text("telemetry:")
    monkeypatch.setattr(
        "pipeline.home.folder.CREATE_DATABASE",
        f"import sys, shutil; shutil.copy({str(Home(prepared).database)!r}, sys.argv[1][10:])",
    )
    home.prepare()
    assert tracking(home).client.search_experiments()
    assert [*home.mlflow.glob(f"{BESIDE}*"), *home.dagster.glob(f"{BESIDE}*")] == []
    settings = yaml.safe_load((home.dagster / "dagster.yaml").read_text())
    assert settings["run_monitoring"]["max_runtime_seconds"] == 86400
    assert settings["code_servers"]["local_startup_timeout"] == 1200


def test_homes_are_prepared_one_at_a_time(prepared: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(prepared, home.root)
    with held_elsewhere(home.locks / "prepare") as process:
        second = Thread(target=home.prepare)
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive(), "it waits"
        process.kill()
        second.join(timeout=60)
        assert not second.is_alive()
