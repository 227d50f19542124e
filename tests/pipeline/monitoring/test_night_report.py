"""The report of a night from a home made by hand: every warning is in it, and nothing that is broken costs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from pipeline.monitoring import night_report, record
from pipeline.monitoring.night_report import HEADLINE, REPORT, Reporter
from pipeline.monitoring.record import Check, Record, Step
from pipeline.monitoring.summary import SUMMARY
from pipeline.resources.lake import Lake
from pipeline.resources.tracking import RegisteredVersion, Tracking
from pipeline.settings import Settings
from tests.pipeline.reports.pages.test_night import EVIL, TASKS, loads_nothing, read, scored
from tests.pipeline.small_training import some_evaluation

DAY, BEFORE = "2018-01-01", "2017-12-31"
WARNED = [
    Check("quarantine", "volume_as_before", False, "rows fell"),
    Check("drift", "no_drift", False, EVIL),
    Check("drift", "everything_is_shown", False, "picture: no font"),
    Check("my/asset", f"of_a_plugin {EVIL}", True, "why"),
]


class Registry:
    """Knows version 2, the champion."""

    def __init__(self, folder: Path) -> None:
        self.found = RegisteredVersion("2", "r", date(2017, 12, 20), "s", "completejourney", folder)

    def champion(self) -> RegisteredVersion:
        return self.found

    def challenger(self) -> None:
        return None

    def version(self, number: str) -> RegisteredVersion:
        if number != "2":
            raise FileNotFoundError(f"the files of version {number} are gone from MLflow")
        return self.found

    def version_url(self, number: str) -> str:
        return f"http://127.0.0.1:5000/#/models/ple/versions/{number}"

    def read_json(self, version: RegisteredVersion, name: str) -> Any:
        return json.loads((version.folder / name).read_text())


Made = tuple[Reporter, list[str]]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    lake, bundle = Lake(root=str(tmp_path / "lake")), tmp_path / "bundle"
    bundle.mkdir()
    evaluation = replace(some_evaluation(churn="ahead"), reliability={})
    (bundle / "evaluation.json").write_text(json.dumps(asdict(evaluation)))
    (bundle / "tasks.json").write_text(json.dumps(TASKS))
    for day, rows in ((DAY, 30), (BEFORE, 28)):
        lake.published("scores").publish(scored(date.fromisoformat(day), rows).scores, day)
        lake.published("quarantine/transactions").publish(pl.DataFrame({"reason": ["x"] * rows}), day)
    for file, content in (
        (lake.partition("tables", DAY) / "delivery.json", {"digest": "d", "files": {}}),
        (lake.path("volumes", "d.json"), {"measures": {EVIL: {"rows": 7}, "unknown only": {}}, "at": "now"}),
        (tmp_path / "reports" / f"as_of={DAY}" / SUMMARY, {"facts": {"drift": f"spend {EVIL}"}}),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    run = Record("nightly", "1234567890", DagsterRunStatus.SUCCESS, None, 32.0, [Step("scores", 7.0, rows=30)], WARNED)
    monkeypatch.setattr(record, "newest", lambda _, job, __: run if job == "nightly" else None)
    said: list[str] = []
    instance, tracking = cast("DagsterInstance", SimpleNamespace()), cast("Tracking", Registry(bundle))
    return Reporter(Settings(home=tmp_path), lake, tracking, instance, said.append), said


def test_every_check_that_warned_is_in_the_report_and_no_name_writes_in_it(made: Made) -> None:
    reporter, said = made
    assert reporter.write(DAY) == {}
    assert said == []
    html = (reporter.folder(DAY) / REPORT).read_text()
    loads_nothing(html)
    text = "".join(read(html).texts)
    for check in WARNED:
        assert f"Check {check.name} of {check.asset}" in text
    assert "Scores of 30 customers as of 2018-01-01 are published, by version 2" in text
    assert "The champion is old" in text
    assert "32 seconds" in text
    told = json.loads((reporter.folder(DAY) / HEADLINE).read_text())
    assert told["headline"].startswith("Scores of 30 customers")
    assert told["looks"][0]["what"].endswith("failed"), "what stops first"
    assert "Report of the night before" not in text
    reporter.write(BEFORE)
    reporter.write(DAY)
    html = (reporter.folder(DAY) / REPORT).read_text()
    link = next(link for link in read(html).links if link.startswith("../as_of"))
    assert (reporter.folder(DAY) / link).resolve() == (reporter.folder(BEFORE) / REPORT).resolve()
    assert (reporter.folder(DAY) / next(link for link in read(html).links if "lake/scores" in link)).resolve().is_dir()


def test_a_night_that_failed_leaves_a_report_that_says_why(made: Made) -> None:
    reporter, _ = made
    assert reporter.write("2018-01-02", f"scores: no disk {EVIL}") == {}
    html = (reporter.folder("2018-01-02") / REPORT).read_text()
    loads_nothing(html)
    assert "The night of 2018-01-02 failed and no scores were published: scores: no disk" in html
    assert "its date has no scores. scores: no disk" in html


@pytest.mark.parametrize(
    ("breaks", "lost"),
    [
        (lambda home: (home / "bundle" / "evaluation.json").write_text("{"), "its evaluation"),
        (lambda home: (home / "bundle" / "tasks.json").unlink(), "its tasks"),
        (lambda home: (home / "reports" / f"as_of={DAY}" / SUMMARY).write_text("["), "the summary"),
        (lambda home: next((home / "lake/scores" / f"as_of={DAY}").glob("*")).write_bytes(b"no table"), "the scores"),
        (lambda home: (home / "lake" / "volumes" / "d.json").write_text("{"), "rows of the delivery"),
        (
            lambda home: next((home / "lake/quarantine/transactions" / f"as_of={DAY}").glob("*")).write_bytes(b""),
            "rows set aside",
        ),
    ],
)
def test_what_cannot_be_read_costs_a_part_and_is_said(breaks: Callable[[Path], Any], lost: str, made: Made) -> None:
    reporter, said = made
    breaks(reporter.settings.home)
    assert lost in reporter.write(DAY)
    assert any(line.startswith(lost) for line in said)
    assert f"A part of this report is missing: {lost}" in (reporter.folder(DAY) / REPORT).read_text()


def test_a_version_that_is_gone_leaves_the_rest(made: Made) -> None:
    reporter, _ = made
    reporter.lake.published("scores").publish(scored(date(2017, 12, 30), 9, "1").scores, "2017-12-30")
    assert [*reporter.write("2017-12-30")] == ["the version that scored"]
    assert "Scores of 9 customers" in (reporter.folder("2017-12-30") / REPORT).read_text()


def test_a_report_that_cannot_be_written_is_a_warning(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, said = made

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(night_report, "publish_bytes", full)
    assert "No space left" in reporter.try_to_write(DAY)["the report"]
    assert "could not be written: OSError" in said[-1]
