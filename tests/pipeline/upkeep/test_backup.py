"""Backup and restore: the drill of docs/operating.md, on a small home."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.home.folder import Home, HomeError
from pipeline.resources.publication import Published
from pipeline.runs.in_process import one_at_a_time
from pipeline.upkeep import doctor
from pipeline.upkeep.backup import CONTENT, MANIFEST, BackupError, back_up, lies_elsewhere, read, restore
from tests.pipeline.home.test_home import lived_in, works
from tests.pipeline.upkeep.test_doctor import SCORES

__all__ = ["lived_in"]
DAY = "2018-01-01"


@pytest.fixture
def home(tmp_path: Path, lived_in: Home) -> Home:
    """A home with a champion, a run, published scores, locks and what a killed process left."""
    home = Home(tmp_path / "home")
    shutil.copytree(lived_in.root, home.root)
    home.prepare()
    home.root.chmod(0o700)
    Published(home.lake, "scores").publish(SCORES, DAY)
    (home.lake / ".half.part").mkdir()
    (home.kernels).mkdir()
    (home.kernels / "kernel").write_bytes(b"compiled")
    return home


def test_a_restored_home_works_and_the_doctor_finds_it_well(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(home.database)) as writing:  # a database that is in use has a journal
        writing.execute("PRAGMA journal_mode = WAL")
        writing.execute("UPDATE experiments SET name = 'renamed' WHERE experiment_id = 0")
        writing.commit()
        monkeypatch.setenv("PLE_HOME", str(home.root))
        done = CliRunner().invoke(main, ["backup", str(tmp_path / "backup")])
        assert done.exit_code == 0, done.output
    shutil.rmtree(home.root)
    there = tmp_path / "another place" / "home"
    monkeypatch.setenv("PLE_HOME", str(there))
    done = CliRunner().invoke(main, ["restore", str(tmp_path / "backup")])
    assert done.exit_code == 0, done.output
    assert "ple doctor" in done.output
    restored = Home(there)
    with closing(sqlite3.connect(restored.database)) as connection:
        assert connection.execute("SELECT name FROM experiments WHERE experiment_id = 0").fetchone() == ("renamed",)
    published = Published(restored.lake, "scores")
    assert published.read(DAY).equals(SCORES)
    assert published.pointer(DAY).is_symlink()
    assert not (restored.lake / ".half.part").exists()
    there.chmod(0o700)
    monkeypatch.setitem(doctor.CHECKS, "champion", lambda _: ([], "of a toy data set, which the doctor does not know"))
    found = CliRunner().invoke(main, ["doctor"])
    assert found.exit_code == 0, found.output
    works(restored)
    assert not home.root.exists(), "the original is not needed"


def test_a_backup_waits_for_no_night_and_says_who_works(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLE_HOME", str(home.root))
    with one_at_a_time(home, "ple nightly of 2018-01-01"):
        done = CliRunner().invoke(main, ["backup", str(tmp_path / "backup")])
    assert done.exit_code == 1
    assert "is in use: ple nightly of 2018-01-01" in done.output
    assert not (tmp_path / "backup").exists()


@pytest.fixture
def backup(home: Home, tmp_path: Path) -> Path:
    back_up(home, tmp_path / "backup")
    return tmp_path / "backup"


def _manifest(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> object:
        file = folder / MANIFEST
        return file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / CONTENT / "mlflow" / "mlflow.db").write_bytes(b"x"), "was altered since the backup"),
        (lambda folder: (folder / CONTENT / "mlflow" / "mlflow.db").unlink(), "is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "is no backup"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "is damaged"),
        (_manifest(format=99), "by a newer release"),
        (_manifest(home_format=99), "by a newer release"),
        (_manifest(files={"../../evil": "0"}), "lies outside of a home"),
        (_manifest(files={"/etc/evil": "0"}), "lies outside of a home"),
        (_manifest(links={"lake/scores": "../../elsewhere"}), "lies outside of a home"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_made(
    change: Callable[[Path], object], words: str, backup: Path, tmp_path: Path
) -> None:
    change(backup)
    with pytest.raises(BackupError, match=words) as refused:
        restore(backup, Home(tmp_path / "there"))
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("*there*"))


def test_nothing_that_is_there_is_overwritten(backup: Path, home: Home, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is not empty"):
        back_up(home, backup)
    with pytest.raises(BackupError, match="is not empty"):
        restore(backup, home)
    with pytest.raises(BackupError, match="in the home itself"):
        back_up(home, home.root / "backup")
    with pytest.raises(HomeError, match="'%'"):
        restore(backup, Home(tmp_path / "a%20b"))
    (tmp_path / "empty").mkdir()
    restore(backup, Home(tmp_path / "empty"))


def test_what_is_made_again_is_left_out_and_what_lies_elsewhere_is_said(backup: Path, home: Home) -> None:
    names = set(read(backup).files) | set(read(backup).links)
    assert not [name for name in names if name.startswith(("kernels", "locks")) or ".half" in name]
    assert lies_elsewhere(home, None) == []
    (home.dagster / "dagster.yaml").write_text("storage:\n  postgres: {}\n")
    assert len(lies_elsewhere(home, "http://mlflow:5000")) == 2
