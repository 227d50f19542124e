"""`ple scores --path`: the folder of the version that is published."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.resources.publication import Published

DAYS = ("2018-01-01", "2018-01-02")


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    monkeypatch.delenv("AS_OF", raising=False)
    return Published(tmp_path / "lake", "scores")


def path_of(*arguments: str) -> Path:
    done = CliRunner().invoke(main, ["scores", "--path", *arguments])
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip())


def test_the_path_is_that_of_the_version_and_stays_what_it_is(scores: Published) -> None:
    for number, day in enumerate(DAYS):
        scores.publish(pl.DataFrame({"churn": [float(number)]}), day)
    newest, first = path_of(), path_of(DAYS[0])
    assert path_of("--as-of", DAYS[0]) == first
    assert pl.read_parquet(newest)["churn"].to_list() == [1.0]
    scores.publish(pl.DataFrame({"churn": [9.0]}), DAYS[0])
    assert path_of(DAYS[0]) != first
    assert pl.read_parquet(first)["churn"].to_list() == [0.0]
    assert str(pl.read_parquet(first)["as_of"][0]) == DAYS[0]


def test_without_scores_it_says_so(scores: Published) -> None:
    done = CliRunner().invoke(main, ["scores", "--path"])
    assert done.exit_code == 1
    assert "no scores yet" in done.output
    scores.publish(pl.DataFrame({"churn": [0.0]}), DAYS[0])
    done = CliRunner().invoke(main, ["scores", "--path", DAYS[1]])
    assert f"no scores of {DAYS[1]}" in done.output
    done = CliRunner().invoke(main, ["scores", "--path", "tomorrow"])
    assert "'tomorrow' is not a date" in done.output


def test_scores_that_were_altered_are_named_without_a_traceback(scores: Published) -> None:
    scores.publish(pl.DataFrame({"churn": [0.0]}), DAYS[0])
    scores.file(DAYS[0]).write_bytes(b"")
    done = CliRunner().invoke(main, ["scores"])
    assert done.exit_code == 1
    assert f"was altered: run the night of {DAYS[0]} again" in done.output
    assert "Traceback" not in done.output
