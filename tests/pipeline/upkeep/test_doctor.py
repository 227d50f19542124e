"""`ple doctor`, and the home whose MLflow lost its versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.resources.publication import Published
from pipeline.upkeep import doctor
from pipeline.upkeep.lost_registry import lost_registry

SCORES = pl.DataFrame({"customer_id": ["a"], "model_version": ["7"], "run_id": ["r"]})


def registry(*numbers: str) -> Any:
    return SimpleNamespace(numbers=lambda: list(numbers), uri="sqlite:////home/mlflow.db")


def test_a_registry_without_versions_is_lost_only_where_something_was_scored(tmp_path: Path) -> None:
    assert lost_registry(registry(), tmp_path) == ""
    Published(tmp_path, "scores").publish(SCORES, "2018-01-01")
    assert "the scores of 2018-01-01 are by version 7" in lost_registry(registry(), tmp_path)
    assert lost_registry(registry("7"), tmp_path) == ""


def test_the_doctor_finds_a_new_home_well(
    tmp_path: Path, make_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    home.chmod(0o700)
    monkeypatch.setenv("PLE_HOME", str(home))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    for check in doctor.CHECKS:
        assert f"✓  {check}" in result.output


def test_the_doctor_names_what_is_wrong_and_what_to_do(
    tmp_path: Path, make_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    home.chmod(0o755)
    published = Published(home / "lake", "scores")
    published.publish(SCORES, "2017-12-31")
    published.publish(SCORES.with_columns(customer_id=pl.lit("b")), "2018-01-01")
    published.file("2018-01-01").write_bytes(b"no table")
    monkeypatch.setenv("PLE_HOME", str(home))
    monkeypatch.setattr(doctor, "FREE_BYTES", 2**80)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    for words in ("are free: make room", "chmod -R o-rwx", "MLflow knows no version", "2018-01-01"):
        assert words in result.output
    assert "✓  runs" in result.output


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: doctor.Deployment) -> tuple[list[str], str]:
        raise OSError("no such device")

    monkeypatch.setattr(doctor, "CHECKS", {"disk": fails})
    finding = doctor.examine(SimpleNamespace())[0]  # type: ignore[arg-type]
    assert finding.problems == ("could not be examined: OSError: no such device",)
