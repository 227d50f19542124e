"""`ple features`: lists, explains, and the catalogue in the docs is what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from feature_assets import catalogue, registry
from pipeline.cli import main
from pipeline.commands.features import features


def _run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(features, arguments)
    return done.exit_code, done.output


def test_overview_lists_every_group_and_its_positions() -> None:
    code, text = _run()
    assert code == 0
    assert all(name in text for name in registry.registry())
    assert "0–237" in text
    assert catalogue.overview()["columns"].sum() == registry.width()


def test_a_group_a_section_a_column_and_a_side_input_are_explained() -> None:
    campaign = registry.registry()["campaign"]
    code, text = _run("campaign")
    assert code == 0
    assert all(column.name in text for column in campaign.columns)
    assert "base__tenure" in _run("base__tenure")[1]
    assert "extended_source" not in _run("txn_seq")[1]
    assert "card_hour_resultant" in _run("txn_seq")[1]
    assert catalogue.explain("extended_source").height == 84


def test_an_unknown_name_says_the_nearest() -> None:
    code, text = _run("campain")
    assert code == 1
    assert "did you mean 'campaign'" in text


def test_the_document_is_what_the_registry_says() -> None:
    document = Path(__file__).parents[3] / "docs" / "features.md"
    code, text = _run("--markdown")
    assert code == 0
    assert document.read_text(encoding="utf-8") == text, "run: ple features --markdown > docs/features.md"


def test_check_names_a_data_set_that_is_not_there() -> None:
    done = CliRunner().invoke(main, ["features", "--check", "--dataset", "completejurney"])
    assert done.exit_code == 1
    assert "did you mean 'completejourney'" in done.output


def test_a_task_and_a_column_of_the_scores_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    text = _run("ltv")[1]
    assert "Spend less refunds over the next 84 days" in text
    assert "ltv__value_low" in text
    assert "ple explain task ltv" in text
    assert _run("churn__eligible")[1].startswith("churn__eligible  true for customers with a purchase")
    code, text = _run("chrun")
    assert code == 1
    assert "did you mean 'churn'" in text


def test_a_whole_name_is_one_column_though_others_contain_it() -> None:
    name = next(a for a in registry.names() if any(a != b and a in b for b in registry.names()))
    assert catalogue.explain(name)["name"].to_list() == [name]
