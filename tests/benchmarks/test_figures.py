"""All figures at once: what is made, what it takes, and that a part that fails stops no other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import Part
from benchmarks.studies import catalogue


def test_it_says_what_it_takes_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures.main(["--list", "--studies", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    minutes = sum(part.minutes for part in figures.measured(tmp_path))
    assert lines[-1].split()[:4] == ["in", "all", f"{minutes:.1f}", "min"]
    assert all(name in lines[-2] for name in catalogue.STUDIES)  # no predictions are kept here


def test_scripts_and_folders_are_there(tmp_path: Path) -> None:
    for part in figures.measured(tmp_path):
        assert part.command[0] == "make" or (figures.REPOSITORY / part.command[1]).is_file()


def test_a_part_that_fails_stops_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "made"
    parts = [
        Part("bad", "fails", (sys.executable, "-c", "raise SystemExit(3)"), 1),
        Part("good", "works", (sys.executable, "-c", f"open({str(made)!r}, 'w')"), 1),
    ]
    assert figures.run(parts) == 1
    assert made.exists()
    assert "failed: bad" in capfd.readouterr().out


def test_a_part_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        figures.main(["--list", "--only", "nigth"])
    assert "no part nigth; there are" in capsys.readouterr().err
