"""One printer: tables for people, `--json` on every command, one value and nothing else on standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.commands.printing import json_text, show_facts, show_records
from tests.pipeline.commands.test_errors import every_command

WITHOUT = {"ui": "serves until Ctrl-C; it finds nothing", "study": "writes a report, with options of its own"}


def command_of(words: str) -> click.Command:
    found: Any = main
    for word in words.split():
        found = found.commands[word]
    return found


def test_every_command_that_finds_something_prints_it_as_json() -> None:
    by_help: dict[str | None, list[str]] = {}
    for words in every_command(main):
        options = [each for each in command_of(words).params if "--json" in each.opts]
        assert len(options) == (0 if words in WITHOUT else 1), words
        for option in options:
            assert isinstance(option, click.Option)
            assert option.name == "as_json", words
            by_help.setdefault(option.help, []).append(words)
    assert len(by_help) == 1, by_help


@pytest.mark.parametrize("words", ["features", "features campaign", "features ltv", "features churn__u", "tasks",
                                   "tasks ltv"])  # fmt: skip
def test_standard_output_is_one_json_value(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    done = CliRunner().invoke(main, [*words.split(), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)


def test_a_table_is_one_line_a_row_without_blanks_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    show_records(
        [{"task": "churn", "rows": 1, "why": "x" * 300}, {"task": "ltv", "rows": 20, "why": None}], right=("rows",)
    )
    show_facts({"first": "[red]", "second": 2})
    show_facts({})
    show_records([])
    assert capsys.readouterr().out.splitlines() == [
        "task   rows  why",
        "churn     1  " + "x" * 300,
        "ltv      20",
        "first   [red]",
        "second  2",
    ]


def test_json_knows_no_numbers_that_are_none() -> None:
    assert json.loads(json_text({"a": [float("nan"), 1.5], 2: Path("x")})) == {"a": [None, 1.5], "2": "x"}
