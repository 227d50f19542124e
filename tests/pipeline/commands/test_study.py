"""`ple study` runs the repository's studies, and says where they are where they are not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.commands import study


def test_arguments_and_status_are_those_of_the_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        called.append(command[1:])
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    done = CliRunner().invoke(main, ["study", "census", "--only", "default", "--help"])
    assert done.exit_code == 3
    assert called == [["-m", "benchmarks.studies", "census", "--only", "default", "--help"]]


def test_a_wheel_says_that_it_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(study, "REPOSITORY", tmp_path)
    done = CliRunner().invoke(main, ["study", "census"])
    assert done.exit_code == 1
    assert "clone" in done.stderr
