"""Dagster and MLflow on a PostgreSQL server: runs, versions, moved homes, whose a database is, and faults in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.home import postgres as databases
from pipeline.home.folder import Home, HomeError
from pipeline.home.postgres import FILE, OWN, DatabaseError, normal
from pipeline.runs.in_process import one_at_a_time, run_job
from pipeline.runs.queue import queue_of
from pipeline.runs.signs import clear_dead_runs, give_sign
from pipeline.settings import SettingsError, load_settings
from pipeline.upkeep.retention import _remove_run
from tests.pipeline import stores, toy_nights
from tests.pipeline.home.test_home import live_in, tracking, works
from tests.pipeline.postgres_server import PASSWORD, Server

DAY = toy_nights.FIRST + timedelta(days=3)
HALF = f"""
CREATE TABLE {OWN} (one integer PRIMARY KEY, id text, home text, used_by text, ready boolean);
INSERT INTO {OWN} VALUES (1, 'mine', '{{home}}', 'Dagster', false);
CREATE TABLE runs (half integer)
"""


@pytest.fixture(scope="module")
def prepared(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home on two databases, in which nothing has run."""
    return stores.prepare(tmp_path_factory.mktemp("postgres") / "home", postgres)


@pytest.fixture
def home(prepared: Home, postgres: Server, tmp_path: Path) -> Home:
    """A copy of it, with databases of its own."""
    return Home(stores.copy(prepared.root, tmp_path / "home", postgres))


def database(home: Home, key: str) -> str:
    """The name of a database of a home."""
    return str(stores.settings_of(home.root)[key]).rpartition("/")[2]


def refused(home: Path, command: str = "doctor") -> str:
    """What a command says that is refused, in one line."""
    result = CliRunner().invoke(main, command.split(), env={"PLE_HOME": str(home)})
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1, result.output
    [line] = result.output.splitlines()
    assert PASSWORD not in line
    return line


def test_a_home_on_a_server_keeps_no_database_and_no_password(prepared: Home) -> None:
    files = [file for file in prepared.root.rglob("*") if file.is_file()]
    assert [file.name for file in files if file.suffix == ".db"] == []
    before = {file: file.read_bytes() for file in files}
    assert not any(PASSWORD.encode() in content for content in before.values())
    stores.prepare(prepared.root)
    assert {file: file.read_bytes() for file in files if "locks" not in file.parts} == {
        file: content for file, content in before.items() if "locks" not in file.parts
    }
    prepared.root.chmod(0o700)
    result = CliRunner().invoke(main, ["doctor"], env={"PLE_HOME": str(prepared.root)})
    assert result.exit_code == 0, result.output
    assert "✓  databases" in result.output
    assert result.output.count("PostgreSQL 1") == 2


def test_runs_the_queue_dead_runs_and_their_removal(home: Home, postgres: Server) -> None:
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        with one_at_a_time(home) as held:
            done = run_job(held, toy_nights.build(home.root), instance, "nightly", DAY)
        assert done.success
        assert [run.run_id for run in instance.get_runs()] == [done.run_id]
        job = toy_nights.build(home.root).resolve_job_def("nightly")
        dead = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED).run_id
        give_sign(home, dead).release()
        assert queue_of(instance, home).dead == (dead,)
        assert clear_dead_runs(instance, home) == [dead]
        assert queue_of(instance, home).problems() == []
        [(events,)] = postgres.run("SELECT string_agg(event, ' ') FROM event_logs", database(home, stores.KEYS[0]))
        assert done.run_id in str(events)
        assert PASSWORD not in str(events)
        for run_id in (dead, done.run_id):
            _remove_run(instance, run_id, [home.dagster / "storage" / run_id])
        assert instance.get_runs() == []


def test_versions_follow_a_home_that_is_copied_with_its_databases_or_moved(
    home: Home, postgres: Server, tmp_path: Path
) -> None:
    live_in(home, tmp_path)
    works(home)
    copy = Home(stores.copy(home.root, tmp_path / "copy", postgres))
    works(copy)
    moved = Home(home.root.rename(tmp_path / "moved"))
    stores.prepare(moved.root)
    works(moved)
    assert not home.root.exists(), "something was written into the original"
    version = tracking(moved).champion()
    assert version is not None
    files = tracking(moved).model_files(version.version)
    assert files is not None
    tracking(moved).remove_version(version.version)
    assert not files.exists()


def test_a_copy_of_the_folder_alone_is_refused(home: Home, tmp_path: Path) -> None:
    shutil.copytree(home.root, tmp_path / "copy")
    line = refused(tmp_path / "copy")
    assert f"is the database of the home {home.root}, of which this home is a copy" in line
    stores.prepare(home.root)


def test_a_database_is_one_homes_and_of_one_use(home: Home, postgres: Server, tmp_path: Path) -> None:
    dagster, mlflow = (stores.settings_of(home.root)[key] for key in stores.KEYS)
    with pytest.raises(DatabaseError, match=f"is the database of the home {home.root}: name another one"):
        Home(tmp_path / "other").prepare(normal(dagster))
    with pytest.raises(DatabaseError, match="is the database of MLflow: Dagster needs one of its own"):
        home.prepare(normal(mlflow), normal(dagster))
    strange = postgres.database()
    postgres.run("CREATE TABLE accounts (id integer)", strange.rpartition("/")[2])
    with pytest.raises(DatabaseError, match=r"has tables already \(accounts\): Dagster needs an empty"):
        Home(tmp_path / "third").prepare(normal(strange))


def test_tables_that_a_killed_preparation_left_are_made_anew(postgres: Server, tmp_path: Path) -> None:
    uri = postgres.database()
    name = uri.rpartition("/")[2]
    (tmp_path / FILE).write_text(json.dumps({"id": "mine"}))
    postgres.run(HALF.replace("{home}", str(tmp_path)).replace("{", "{{").replace("}", "}}"), name)

    def create() -> None:
        postgres.run("CREATE TABLE runs (whole integer)", name)

    def fail() -> None:
        create()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        databases.prepare(normal(uri), "Dagster", tmp_path, fail)
    databases.prepare(normal(uri), "Dagster", tmp_path, create)
    databases.prepare(normal(uri), "Dagster", tmp_path, fail)  # whole: it is not called
    assert postgres.run(f"SELECT ready FROM {OWN}", name) == [(True,)]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'runs'"
    assert postgres.run(columns, name) == [("whole",)]


def test_a_storage_of_ones_own_is_not_overwritten_and_the_setting_can_be_taken_back(home: Home) -> None:
    config = home.dagster / "dagster.yaml"
    with_section = config.read_text()
    home.prepare(None, load_settings(home=home.root).mlflow_uri)
    without = config.read_text()
    assert "storage:" not in without
    assert with_section.startswith(without)
    config.write_text(f"{without}storage: {{sqlite: {{base_dir: /x}}}}\n")
    with pytest.raises(HomeError, match=r"dagster\.yaml has its own `storage:`; remove it, or `dagster_storage`"):
        stores.prepare(home.root)


FAULTS: dict[str, tuple[Callable[[str], str], str | None, str]] = {
    "no server": (lambda _: "postgresql://ple@127.0.0.1:9/x", PASSWORD, "no server answers at 127.0.0.1:9: start it"),
    "no host": (lambda _: "postgresql://ple@nowhere.invalid/x", PASSWORD, "no server answers at nowhere.invalid:5432"),
    "no password": (lambda uri: uri, None, "the password of ple is missing or wrong: set PGPASSWORD"),
    "a wrong password": (lambda uri: uri, "wrong", "the password of ple is missing or wrong: set PGPASSWORD"),
    "no database": (lambda uri: f"{uri}x", PASSWORD, "there is no database"),
    "an unknown user": (lambda uri: uri.replace("ple@", "eve@"), PASSWORD, "the password of eve is missing or wrong"),
}


@pytest.mark.parametrize("setting", stores.KEYS)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_server_is_one_line(
    fault: str, setting: str, prepared: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, password, words = FAULTS[fault]
    monkeypatch.delenv("PGPASSWORD")
    if password is not None:
        monkeypatch.setenv("PGPASSWORD", password)
    own = stores.settings_of(prepared.root)[setting]
    (tmp_path / "settings.yaml").write_text(f"{setting}: {change(own)}\n")
    monkeypatch.setattr(Home, "_create_database", lambda _: None)  # where only Dagster's is on the server
    line = refused(tmp_path)
    assert line.startswith(f"Error: {setting}: "), line
    assert words in line


def test_the_password_may_lie_in_a_file(prepared: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:*:*:ple:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    stores.prepare(prepared.root)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "find_spec", lambda _: None)
    (tmp_path / "settings.yaml").write_text("dagster_storage: postgresql://ple@db/dagster\n")
    assert "needs the package dagster_postgres: `pip install --constraint" in refused(tmp_path)


BAD = {
    "postgresql://ple:s3cret@db/dagster": "a password does not belong in",
    "postgresql://ple@db/dagster?password=s3cret": "a password does not belong in",
    "postgresql://ple@db:5432": "names no database",
    "postgresql://ple@db:port/x": "no address",
    "postgresql+asyncpg://ple@db/x": "write postgresql://",
}


@pytest.mark.parametrize("setting", stores.KEYS)
@pytest.mark.parametrize("uri", BAD)
def test_a_bad_address_is_refused_without_showing_a_password(uri: str, setting: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"{setting}: {uri}\n")
    with pytest.raises(SettingsError, match=BAD[uri]) as raised:
        load_settings(home=tmp_path)
    assert "s3cret" not in str(raised.value)


def test_dagster_takes_no_other_store_and_no_database_of_mlflow(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("dagster_storage: sqlite:////x.db\n")
    with pytest.raises(SettingsError, match="without it Dagster keeps sqlite files"):
        load_settings(home=tmp_path)
    file.write_text("dagster_storage: postgresql://ple@db/x\nmlflow_uri: postgresql://eve@db:5432/x\n")
    with pytest.raises(SettingsError, match="name one database; each needs one of its own"):
        load_settings(home=tmp_path)
    file.write_text("dagster_storage: postgresql://ple@db/x\nmlflow_uri: postgresql://ple@db/y\n")
    assert load_settings(home=tmp_path).mlflow_uri == "postgresql+psycopg2://ple@db/y"
