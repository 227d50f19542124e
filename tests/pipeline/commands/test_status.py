"""`ple status` and `ple report` on a home made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from dagster import DagsterInstance, DagsterRunStatus

from pipeline import definitions
from pipeline.cli import main
from pipeline.home.folder import Home
from pipeline.monitoring.night_report import HEADLINE, REPORT, Reporter
from pipeline.resources.lake import Lake
from pipeline.resources.publication import Published
from pipeline.runs.in_process import PARTITION_TAG
from pipeline.upkeep import status
from tests.pipeline.monitoring.test_night_report import Registry
from tests.pipeline.nights.test_telling import JOBS

DAY = "2018-01-01"


@pytest.fixture
def home(tmp_path: Path, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With one night, a run in the queue and one that failed."""
    monkeypatch.setattr(Home, "prepare", lambda *_: None)
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    for name in ("DATASET", "DATA_DIR", "CUSTOMERS", "AS_OF"):
        monkeypatch.delenv(name, raising=False)
    resources: dict[str, Any] = {"tracking": Registry(tmp_path), "lake": Lake(root=str(tmp_path / "lake"))}
    monkeypatch.setattr(definitions, "build_resources", lambda _: resources)
    Published(tmp_path / "lake", "scores").publish(pl.DataFrame({"customer_id": ["a"], "model_version": ["2"]}), DAY)
    folder = tmp_path / "reports" / f"as_of={DAY}"
    folder.mkdir(parents=True)
    look = {"what": "The champion is old", "words": "12 days", "do": "look why", "address": ""}
    (folder / HEADLINE).write_text(json.dumps({"headline": "Scores.", "looks": [look]}))
    (folder / REPORT).write_text("<!doctype html>")
    instance.create_run_for_job(JOBS["training"], status=DagsterRunStatus.FAILURE, tags={PARTITION_TAG: DAY})
    instance.create_run_for_job(JOBS["nightly"], status=DagsterRunStatus.NOT_STARTED, tags={PARTITION_TAG: DAY})
    return tmp_path


def test_the_status_is_a_screenful_and_the_same_as_json(home: Path) -> None:
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) <= 24
    told = {line[:13].strip(): line[14:] for line in lines[: len(status.PARTS) - 1]}
    assert told["home"].startswith(f"folder {home} · data set completejourney")
    assert told["champion"] == "version 2 · trained as of 2017-12-20 · age in days 12"
    assert told["scores"] == "as of 2018-01-01 · rows 1 · version 2 · dates 1"
    assert told["daemon"].startswith("not running")
    assert told["automation"].startswith("off: nightly, training")
    assert told["next tick"] == "none: the schedule is off"
    assert "training · as of 2018-01-01 · result failure" in told["last failure"]
    assert "reason the run ended before a step could fail" in told["last failure"]
    assert "  The champion is old: 12 days" in lines
    found = json.loads(CliRunner().invoke(main, ["status", "--json"]).output)
    assert list(found) == [*status.PARTS]
    assert found["scores"] == {"as of": DAY, "rows": 1, "version": "2", "dates": 1}
    assert found["look"][-1]["do"] == "look why"


def test_what_cannot_be_read_says_so_in_its_place(home: Path) -> None:
    Published(home / "lake", "scores").file(DAY).write_bytes(b"no table")
    (home / "reports" / f"as_of={DAY}" / HEADLINE).write_text("{")
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 0, result.output
    assert "scores        unknown: PublicationError" in result.output
    assert "champion      version 2" in result.output
    assert "unknown: JSONDecodeError" in result.output


def test_the_report_is_found_made_again_where_it_is_missing_and_copied(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def write(self: Reporter, as_of: str) -> None:
        made.append(as_of)
        (self.folder(as_of) / REPORT).write_text("new")

    monkeypatch.setattr(Reporter, "write", write)
    file = home / "reports" / f"as_of={DAY}" / REPORT
    assert CliRunner().invoke(main, ["report"]).output.strip() == str(file)
    assert made == []
    copied = home / "copy.html"
    result = CliRunner().invoke(main, ["report", DAY, "--again", "--output", str(copied)])
    assert result.output.strip() == str(copied)
    assert copied.read_text() == "new"
    file.unlink()
    assert CliRunner().invoke(main, ["report"]).exit_code == 0
    assert made == [DAY, DAY]
    result = CliRunner().invoke(main, ["report", "2017-12-31"])
    assert result.exit_code == 1
    assert "no night of 2017-12-31 is known; the newest is 2018-01-01" in result.output
