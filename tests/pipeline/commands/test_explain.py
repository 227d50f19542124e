"""`ple explain` on a home made by hand: pages of a task and of a customer, and what it refuses."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from feature_assets import registry
from pipeline.commands import explain
from pipeline.resources.lake import Lake
from pipeline.scores import reasons

DAY = "2018-01-01"
COLUMN = registry.names()[0]
TASK = {"name": "churn", "kind": "binary", "meaning": "No purchase", "predicted_by": "network alone", "classes": []}
FILES: dict[str, Any] = {"tasks.json": [TASK], "model.json": {"epochs": None}, "evaluation.json": {"table": []}}


class _Tracking:
    """Knows version 3, the champion."""

    found: Any = SimpleNamespace(version="3", as_of=date(2018, 1, 1), state_version="s1", folder=Path("bundle"))

    def champion(self) -> Any:
        return self.found

    def version(self, number: str) -> Any:
        assert number == "3"
        return self.found

    def read_json(self, version: Any, name: str) -> Any:
        assert version is self.found
        return FILES[name]


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Tracking:
    tracking, lake = _Tracking(), Lake(root=str(tmp_path))
    scores = pl.DataFrame(
        {"customer_id": ["c1", "c2"], "as_of": [DAY, DAY], "churn": [0.25, 0.5], "model_version": ["3", "3"]}
    )
    matrix = pl.DataFrame({"customer_id": ["c1", "c2"], "state_version": ["s1", "s1"]})
    group = explain_group()
    natural = pl.DataFrame({"customer_id": ["c1", "c2"], COLUMN: [12.5, 7.0]})
    for name, frame in (("scores", scores), ("features/matrix", matrix), (f"features/{group}", natural)):
        lake.published(name).publish(frame, DAY)

    def found(matrix: pl.DataFrame, bundle: Path, customer: str) -> list[dict[str, Any]]:
        assert bundle == Path("bundle")
        assert customer in matrix["customer_id"].to_list()
        own = [{"source": COLUMN, "contribution": -0.8, "error": 0.1}]
        told = {"explained": -1.1, "base": -0.2, "class": "", "rest": -0.1, "unexplained": 0.0}
        return [{"task": "churn", "unit": "log odds", "reasons": own, **told}]

    monkeypatch.setattr(reasons, "customer_reasons", found)
    monkeypatch.setattr(explain, "deployment", lambda: (None, None))
    monkeypatch.setattr(explain, "_resources", lambda _: (tracking, lake))
    return tracking


def explain_group() -> str:
    return COLUMN.split("__")[0]


def _run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(explain.explain, arguments)
    return done.exit_code, done.output


def test_the_page_of_a_task_in_every_form(tracking: _Tracking, tmp_path: Path) -> None:
    del tracking
    code, text = _run("task", "churn")
    assert code == 0
    assert text.startswith("# Task churn\n\nNo purchase. Version 3 of the model, trained as of 2018-01-01.")
    assert json.loads(_run("task", "churn", "--json")[1])["title"] == "Task churn"
    code, _ = _run("task", "churn", "--form", "html", "--output", str(tmp_path / "churn.html"))
    assert code == 0
    assert "<h1>Task churn</h1>" in (tmp_path / "churn.html").read_text(encoding="utf-8")


def test_the_page_of_a_customer_shows_natural_values(tracking: _Tracking) -> None:
    del tracking
    code, text = _run("customer", "c1", "--as-of", DAY)
    assert code == 0, text
    assert text.startswith("# Customer c1\n\nAs of 2018-01-01, by version 3 of the model.")
    line = next(line for line in text.splitlines() if line.startswith(f"| {COLUMN} "))
    assert line.split(" | ")[:3] == [f"| {COLUMN}", "-0.8 ± 0.1", "12.5"]
    assert _run("customer", "c1")[1] == text  # the newest date


def test_what_is_not_there_is_named(tracking: _Tracking) -> None:
    for arguments, words in (
        (("task", "chrun"), "did you mean 'churn'"),
        (
            ("customer", "c9"),
            "no customer 'c9' among the 2 that were scored; the nearest known ids: 'c2', 'c1' (as of 2018-01-01)",
        ),
        (("customer", "c1", "--as-of", "2017-01-01"), "no scores of 2017-01-01"),
    ):
        code, text = _run(*arguments)
        assert code == 1
        assert words in text
    tracking.found = SimpleNamespace(**{**vars(tracking.found), "state_version": "s2"})
    assert "are not those that version 3 scored" in _run("customer", "c1")[1]
    tracking.found = None
    assert "no champion yet" in _run("task", "churn")[1]
