"""`ple nightly` and `ple train`: exit status and messages, without a night."""

from __future__ import annotations

import json
import sqlite3
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipeline import faults
from pipeline.cli import main
from pipeline.home.folder import Home
from pipeline.nights.night import Outcome
from pipeline.resources.publication import Published

SUMMARY = {
    "dataset": "toy",
    "tasks": [{"task": "churn", "metric": "AUC ↑"}],
    "legend": "▲ better",
    "facts": {"rows scored": "3", "training failed": "no label (version 2 goes on scoring)"},
    "notice": "Simulated.",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a summary and without MLflow's database, which takes seconds to create."""
    monkeypatch.setattr(Home, "prepare", lambda self, *_: self.dagster.mkdir(parents=True, exist_ok=True))
    for name in ("DATASET", "DATASET_FILE", "DATA_DIR", "CUSTOMERS", "AS_OF", "PLE_ALERT_WEBHOOK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    folder = tmp_path / "reports" / "as_of=2018-01-01"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return tmp_path


REPORTED: list[tuple[str, str]] = []


def reported(_: Any, as_of: str, reason: str) -> None:
    REPORTED.append((as_of, reason))


def run(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, *arguments: str) -> tuple[Result, list[date]]:
    days: list[date] = []

    def run_night(_: Any, __: Any, ___: Any, ____: Any, as_of: date, *_____: Any) -> Outcome:
        days.append(as_of)
        return outcome

    monkeypatch.setattr("pipeline.nights.told_night.run_night", run_night)
    monkeypatch.setattr("pipeline.monitoring.night_report.Reporter.try_to_write", reported)
    return CliRunner().invoke(main, ["nightly", *arguments], color=True), days


def test_published_scores_are_a_success(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    result, days = run(monkeypatch, Outcome(True))
    assert result.exit_code == 0, result.output
    assert days == [date(2018, 1, 1)], "the day after the last day of data"
    assert "rows scored" in result.stdout
    assert "failed;" not in result.stderr


def test_a_failed_training_is_red_and_still_a_success(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    result, _ = run(monkeypatch, Outcome(True, training_failure="training/decision: no label"))
    assert result.exit_code == 0, result.output
    assert "\x1b[31m\nThe training that was due failed" in result.stderr
    assert "training/decision: no label" in result.stderr
    assert "version 2 goes on scoring" in result.stdout
    assert "alert, training failed: no label (version 2 goes on scoring)" in result.stderr
    again, _ = run(monkeypatch, Outcome(True))
    assert "alert" not in again.stderr, "one message a cause"


def test_a_night_without_scores_is_a_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    result, days = run(monkeypatch, Outcome(False, "a: first", "b: second"), "--as-of", "2017-11-01")
    assert result.exit_code == 1
    assert days == [date(2017, 11, 1)]
    assert "no scores of 2017-11-01 are published" in result.stderr
    assert "a: first\nb: second" in result.stderr
    assert REPORTED[-1] == ("2017-11-01", "a: first\nb: second"), "a failed night leaves a report"
    assert "alert, night failed: a: first" in result.stderr


def published(home: Path) -> None:
    Published(Home(home).lake, "scores").publish(pl.DataFrame({"run_id": ["0123"]}), "2018-01-01")


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"tasks": []}', '{"facts": {}, "tasks": 3}'])
def test_a_summary_that_cannot_be_shown_costs_no_night(
    content: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(home)
    file = home / "reports" / "as_of=2018-01-01" / "summary.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    result, _ = run(monkeypatch, Outcome(True))
    assert result.exit_code == 0, result.output
    assert "the scores of 2018-01-01 are published, by run 0123; their summary cannot be shown" in result.stderr
    assert "Traceback" not in result.output


def test_a_night_that_fails_after_its_scores_says_that_they_are_published(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(home)
    result, _ = run(monkeypatch, Outcome(False, failure="night_summary: no space is left on the disk"))
    assert result.exit_code == 1
    assert "The night failed; the scores of 2018-01-01 are published, by run 0123.\nnight_summary" in result.stderr


OUTSIDE = {
    "a full database": (sqlite3.OperationalError("database or disk is full"), faults.FULL),
    "a read-only database": (sqlite3.OperationalError("attempt to write a readonly database"), faults.READ_ONLY),
    "a full disk": (OSError(28, "No space left on device", "/srv/ple/dagster/x"), faults.FULL),
    "a lost server": (ConnectionRefusedError(111, "Connection refused"), faults.LOST),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_night_outside_whose_steps_something_fails_ends_in_words(
    kind: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, fault = OUTSIDE[kind]
    assert home.exists()

    def fails(*_: object) -> Outcome:
        raise error

    monkeypatch.setattr("pipeline.nights.told_night.run_night", fails)
    result = CliRunner().invoke(main, ["nightly"])
    assert result.exit_code == 1
    assert "The night failed; no scores of 2018-01-01 are published." in result.stderr
    assert f"{fault.what}. {fault.do} {faults.AGAIN}" in result.stderr
    assert "Traceback" not in result.output
    assert "fault of this program" not in result.output


def test_a_note_that_cannot_be_written_costs_no_night(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device", str(home / "alerts.json"))

    monkeypatch.setattr("pipeline.monitoring.alerts.publish_json", fails)
    result, _ = run(monkeypatch, Outcome(True))
    assert result.exit_code == 0, result.output
    assert "what was told could not be noted" in result.stderr
    assert faults.FULL.what in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--as-of", "2018-03-01"], "2018-01-01"),
        (["--as-of", "tomorrow"], "YYYY-MM-DD"),
        (["--dataset", "completejurney"], "completejourney"),
    ],
)
def test_a_wrong_option_is_one_message(
    arguments: list[str], word: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    result, days = run(monkeypatch, Outcome(True), *arguments)
    assert result.exit_code != 0
    assert word in result.output
    assert days == []


def test_the_environment_gives_the_date_where_no_option_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    monkeypatch.setenv("AS_OF", "2017-12-01")
    assert run(monkeypatch, Outcome(True))[1] == [date(2017, 12, 1)]


def test_a_training_on_demand_fails_loudly(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.exists()
    jobs: list[tuple[str, date]] = []

    def run_job(_: Any, __: Any, ___: Any, job: str, as_of: date) -> Any:
        jobs.append((job, as_of))
        return SimpleNamespace(success=False, run_id="r")

    monkeypatch.setattr("pipeline.runs.in_process.run_job", run_job)
    monkeypatch.setattr(
        "pipeline.runs.in_process.failure_message", lambda *_: "training/champion: version 3 is not promoted"
    )
    result = CliRunner().invoke(main, ["train", "--as-of", "2017-12-01"])
    assert result.exit_code == 1
    assert jobs == [("training", date(2017, 12, 1))]
    assert "version 3 is not promoted" in result.stderr


def test_what_a_command_writes_is_its_owners_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("os.umask", lambda mask: asked.append(mask) or 0)
    CliRunner().invoke(main, ["scores", "--help"])
    assert asked == [0o077]
