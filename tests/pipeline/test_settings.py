"""Settings are typed, closed, and read from one place."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.settings import Environment, SettingsError, load_settings

VARIABLES = ("PLE_HOME", "PLE_LAKE", "DATASET", "DATASET_FILE", "DATA_DIR", "CUSTOMERS", "AS_OF", "RAY_ADDRESS")


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
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    settings = load_settings(customers=500, dataset=None)
    assert settings.ray_address == "head:6379"
    assert (settings.dataset, settings.data_dir, settings.customers) == ("completejourney", home / "d", 500)
    assert load_settings(dataset="bank_simulation").dataset == "bank_simulation"


def test_the_lake_is_told_by_the_environment_or_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "settings.yaml").write_text("lake: s3://bucket/file/\n")
    assert load_settings().lake == "s3://bucket/file"
    monkeypatch.setenv("PLE_LAKE", "s3://bucket/environment")
    assert load_settings().lake == "s3://bucket/environment"


def test_nothing_set_means_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES[1:]:
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.data_dir is None
    assert settings.lake is None
    assert settings.load_dataset().name == "completejourney"
    assert Environment().as_of is None


@pytest.mark.parametrize(
    ("text", "named"),
    [("retrain_after_day: 3", "retrain_after_days"), ("training: {phase1_epoch: 3}", "phase1_epochs")],
)
def test_an_unknown_key_names_the_nearest(home: Path, text: str, named: str) -> None:
    (home / "settings.yaml").write_text(text)
    with pytest.raises(SettingsError, match=named):
        load_settings()


BAD: dict[str, tuple[str | bytes, str]] = {
    "a tab": ("seed:\t3\n\tblend: off\n", r"settings\.yaml, line \d: found character '\\t'"),
    "a NUL": (b"seed: 3\n\0", r"settings\.yaml: character 9 \(0x00\) is not allowed"),
    "not UTF-8": (b"seed: 3 # \xe9\n", r"not text in UTF-8: byte 10 is 0xe9"),
    "two documents": ("seed: 3\n---\nseed: 4\n", "holds 2 documents"),
    "a list": ("- seed\n", "holds a list, expected settings as `name: value`"),
    "a text": ("seed\n", "holds a str"),
    "no YAML": ("training: {phase1_epochs: 3\n", "line 2"),
    "no date": ("dataset: 2017-13-01\n", "month must be in 1..12"),
    "a key twice": ("seed: 3\nseed: 4\n", r"line 2: the key 'seed' stands there twice"),
    "a key twice below": ("training:\n  phase1_epochs: 3\n  phase1_epochs: 4\n", "line 3: the key 'phase1_epochs'"),
    "a number as a key": ("3: 4\n", "the key 3 is not a name"),
    "a list as a key": ("? [a]\n: 4\n", "unhashable"),
    "a home": ("home: /elsewhere\n", "home: a home does not say where it lies; set PLE_HOME"),
    "yes for a number": ("seed: yes\n", "seed: expected a number, not yes or no"),
    "no for a number below": ("training: {phase1_epochs: on}\n", "training.phase1_epochs: expected a number"),
    "words for a number": ("customers: many\n", "customers: .*not 'many'"),
    "a number too small": ("customers: 5\n", "customers: .*greater than or equal to 200, not '5'"),
    "a bad cron": ("schedule_cron: 0 25 * * *\n", "schedule_cron: .*no cron expression"),
    "seconds in a cron": ("schedule_cron: 0 0 3 * * *\n", "schedule_cron: .*no cron expression"),
    "a list as preset": ("preset: [trunk]\n", "unknown preset"),
    "a list for a mapping": ("training: [3]\n", "training"),
    "a number as plug-in": ("plugins: [3]\n", "plugins.0"),
    "nobody's home": ("data_dir: ~nobody-of-that-name/d\n", "data_dir: .* is no usable path"),
    "a relative store": ("mlflow_uri: sqlite:///mine.db\n", "mlflow_uri: .*relative path"),
    "a password in it": ("mlflow_uri: postgresql://ple:secret@db/mlflow\n", "a password does not belong in mlflow_uri"),
    "no lake": ("lake: /srv/lake\n", "lake: .*is no URL of a lake"),
    "a secret in a lake": ("lake: s3://key:secret@bucket\n", "lake: .*credentials do not belong in the URL of a lake"),
    "no address": ("mlflow_uri: ./mlruns\n", "mlflow_uri: .*is no address"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_line_that_says_where(kind: str, home: Path) -> None:
    content, words = BAD[kind]
    (home / "settings.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=words) as refused:
        load_settings()
    assert str(home / "settings.yaml") in str(refused.value) or kind == "nobody's home"
    assert len(str(refused.value).splitlines()) <= 2


def test_a_folder_or_a_link_to_nothing_is_no_missing_file(home: Path) -> None:
    (home / "settings.yaml").symlink_to(home / "gone.yaml")
    with pytest.raises(ValueError, match=r"settings\.yaml cannot be read: No such file"):
        load_settings()
    (home / "settings.yaml").unlink()
    (home / "settings.yaml").mkdir()
    with pytest.raises(ValueError, match=r"settings\.yaml cannot be read: Is a directory"):
        load_settings()


def test_a_bad_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMERS", "many")
    with pytest.raises(SettingsError, match=r"environment: CUSTOMERS: .*'many'"):
        load_settings()


def test_an_empty_file_and_good_values_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "settings.yaml").write_text("# nothing yet\n")
    assert load_settings().seed == 7
    monkeypatch.setenv("HOME", str(home))
    (home / "settings.yaml").write_text(
        "\ufeffdata_dir: ~/delivered\nschedule_cron: 30 2 * * 1\ntuned_trees: no\nrefit: on\nseed: 3\n"
        "mlflow_uri: sqlite:////srv/mlflow.db\n"
    )
    settings = load_settings()
    assert settings.data_dir == home / "delivered"
    assert (settings.schedule_cron, settings.tuned_trees, settings.refit) == ("30 2 * * 1", False, "on")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SettingsError, match="customers"):
        load_settings(customer=3)


def test_a_file_that_is_no_mapping_is_refused(home: Path) -> None:
    (home / "settings.yaml").write_text("- a\n- b\n")
    with pytest.raises(ValueError, match="list"):
        load_settings()


def test_an_unknown_data_set_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET", "completejurney")
    with pytest.raises(FileNotFoundError, match="completejourney"):
        load_settings().load_dataset()


def test_a_data_set_of_ones_own_is_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Path(pipeline.__path__[0]).parent / "data" / "completejourney.yaml"
    (home / "mine.yaml").write_text(known.read_text().replace("name: completejourney", "name: mine"))
    monkeypatch.chdir(home)
    settings = load_settings(dataset_file=Path("mine.yaml"))
    assert (settings.dataset_file, settings.dataset_name) == (home / "mine.yaml", "mine")
    assert settings.load_dataset().name == "mine"
    monkeypatch.chdir("/")
    (home / "settings.yaml").write_text("dataset_file: mine.yaml")
    assert load_settings().load_dataset().name == "mine"
    monkeypatch.setenv("DATASET", "bank_simulation")
    assert load_settings().load_dataset().name == "bank_simulation", "a later source chooses anew"
    assert load_settings(dataset_file=home / "mine.yaml").load_dataset().name == "mine"
    monkeypatch.setenv("DATASET_FILE", str(home / "mine.yaml"))
    with pytest.raises(SettingsError, match="environment: dataset and dataset_file are given"):
        load_settings()


PATHS = ("../x", "/etc/passwd", "data/x", "shop.yaml", "completejourney.parquet", "..", ".hidden", "a\\b", "x\n", "x y")


@pytest.mark.parametrize("name", PATHS)
def test_the_name_of_a_data_set_is_no_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASET", name)
    with pytest.raises(SettingsError, match=r"no name of a description in data/; a file of .*--dataset-file") as raised:
        load_settings()
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("name", PATHS)
def test_no_description_names_itself_by_a_path(name: str, tmp_path: Path) -> None:
    """The name becomes a folder of the lake."""
    known = (Path(pipeline.__path__[0]).parent / "data" / "completejourney.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(known.replace("name: completejourney", f"name: {json.dumps(name)}"))
    with pytest.raises(ValueError, match="no name of a data set"):
        load_settings(dataset_file=file).load_dataset()


def test_a_file_of_ones_own_ends_in_yaml() -> None:
    with pytest.raises(SettingsError, match=r"dataset_file: .*does not end in \.yaml"):
        load_settings(dataset_file=Path("mine"))


@pytest.mark.parametrize(("stated", "found"), [(None, "1000"), ("5", "5")])
def test_waiting_threads_of_torch_soon_sleep_unless_the_user_says_otherwise(stated: str | None, found: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    code = "import pipeline, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    own = {} if stated is None else {"GOMP_SPINCOUNT": stated}
    done = subprocess.run([sys.executable, "-c", code], env=kept | own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found, "False"], "OpenMP reads it when torch is imported"


def test_no_other_module_reads_a_setting_from_the_environment() -> None:
    """`os.environ` appears only where a child process gets its environment, and where own settings of MLflow, OpenMP
    and Ray are set."""
    allowed = {"child.py", "interfaces.py", "processes.py", "ray_cluster.py", "tracking.py", "tracking_server.py"}
    allowed |= {Path(pipeline.__path__[0]) / "__init__.py"}
    for file in Path(pipeline.__path__[0]).rglob("*.py"):
        tree = ast.parse(file.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"environ", "getenv", "putenv"} or {file, file.name} & allowed, file
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
    with pytest.raises(SettingsError, match="blend"):
        load_settings()


def test_no_message_shows_a_password(home: Path) -> None:
    (home / "settings.yaml").write_text("mlflow_uri: postgresql://ple:secret@db/mlflow\n")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "secret" not in str(raised.value)
