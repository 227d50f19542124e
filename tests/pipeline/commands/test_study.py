"""`ple study` runs the repository's studies, and says where they are where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.studies import __main__ as studies
from benchmarks.studies import catalogue
from pipeline.cli import main
from pipeline.commands import study


def test_arguments_and_status_are_those_of_the_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        called.append(arguments)
        return 3

    monkeypatch.setattr(studies, "main", run)
    done = CliRunner().invoke(main, ["study", "census", "--only", "default", "--report"])
    assert done.exit_code == 3
    assert called == [["census", "--only", "default", "--report"]]


def test_its_help_lists_the_studies() -> None:
    done = CliRunner().invoke(main, ["study", "--help"])
    assert done.exit_code == 0
    assert all(name in done.stdout for name in catalogue.STUDIES)


def test_a_wheel_says_that_it_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(study, "REPOSITORY", tmp_path)
    done = CliRunner().invoke(main, ["study", "census"])
    assert done.exit_code == 1
    assert "clone" in done.stderr
