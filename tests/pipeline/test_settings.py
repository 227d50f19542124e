"""Settings are typed, closed, and read from one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

import pipeline
from pipeline.settings import Environment, load_settings

VARIABLES = ("PLE_HOME", "DATASET", "DATA_DIR", "CUSTOMERS", "AS_OF")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that the environment names, and nothing else set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    return tmp_path


def test_options_win_over_the_environment_and_that_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "settings.yaml").write_text("retrain_after_days: 3\ndataset: other\ncustomers: 300\ndata_dir: delivered\n")
    settings = load_settings()
    assert (settings.home, settings.retrain_after_days, settings.dataset) == (home, 3, "other")
    assert settings.data_dir == home / "delivered", "a relative path in the file starts at the home"
    monkeypatch.setenv("DATASET", "completejourney")
    monkeypatch.setenv("DATA_DIR", str(home / "d"))
    settings = load_settings(customers=500, dataset=None)
    assert (settings.dataset, settings.data_dir, settings.customers) == ("completejourney", home / "d", 500)
    assert load_settings(dataset="bank_simulation").dataset == "bank_simulation"


def test_nothing_set_means_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES[1:]:
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.data_dir is None
    assert settings.load_dataset().name == "completejourney"
    assert Environment().as_of is None


@pytest.mark.parametrize(
    ("text", "named"),
    [("retrain_after_day: 3", "retrain_after_days"), ("training: {phase1_epoch: 3}", "phase1_epochs")],
)
def test_an_unknown_key_names_the_nearest(home: Path, text: str, named: str) -> None:
    (home / "settings.yaml").write_text(text)
    with pytest.raises(ValidationError, match=named):
        load_settings()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="customers"):
        load_settings(customer=3)


def test_a_file_that_is_no_mapping_is_refused(home: Path) -> None:
    (home / "settings.yaml").write_text("- a\n- b\n")
    with pytest.raises(ValueError, match="list"):
        load_settings()


def test_an_unknown_data_set_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET", "completejurney")
    with pytest.raises(FileNotFoundError, match="completejourney"):
        load_settings().load_dataset()


def test_a_data_set_of_ones_own_is_a_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Path(pipeline.__path__[0]).parent / "data" / "completejourney.yaml"
    (home / "mine.yaml").write_text(known.read_text().replace("name: completejourney", "name: mine"))
    monkeypatch.chdir(home)
    settings = load_settings(dataset="mine.yaml")
    assert settings.dataset == str(home / "mine.yaml")
    assert settings.load_dataset().name == "mine"
    (home / "settings.yaml").write_text("dataset: mine.yaml")
    assert load_settings().load_dataset().name == "mine"


def test_no_other_module_reads_a_setting_from_the_environment() -> None:
    """`os.environ` appears only where a child process gets its environment and where MLflow's own switches are set."""
    allowed = {"servers.py", "tracking.py"}
    for file in Path(pipeline.__path__[0]).rglob("*.py"):
        tree = ast.parse(file.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"environ", "getenv", "putenv"} or file.name in allowed, file
        assert "envvar" not in {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}, file


@pytest.mark.parametrize(("text", "found"), [("off", "off"), ("on", "on"), ("'on'", "on")])
def test_a_refit_is_switched_by_bare_words(home: Path, text: str, found: str) -> None:
    (home / "settings.yaml").write_text(f"refit: {text}\n")
    assert load_settings().refit == found


def test_a_bare_off_switches_the_blend_off(home: Path) -> None:
    assert load_settings().blend == "auto"
    (home / "settings.yaml").write_text("blend: off\n")
    assert load_settings().blend == "off"
    (home / "settings.yaml").write_text("blend: on\n")
    with pytest.raises(ValidationError, match="blend"):
        load_settings()
