"""No command ends in a traceback: every command with every kind of bad settings, home, date and delivery."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from tests.deliveries import shop
from tests.deliveries.makers import write

COMMANDS = (
    "nightly",
    "backfill 2017-10-01 2017-10-02",
    "train",
    "promote",
    "rollback",
    "status",
    "doctor",
    "ui",
    "report",
    "backup /dev/null/elsewhere",
    "forget 1 --yes",
    "scores",
    "scores --customer 1",
    "tasks",
    "explain task churn",
    "explain customer 1",
    "base-rates",
    "model",
    "features",
    "features --check",
    "plan --customers 1000",
)
Spoil = Callable[[Path, pytest.MonkeyPatch], None]


def every_command(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{before}{name} ")
        else:
            yield before + name


def test_every_command_is_tried() -> None:
    tried = [call.split() for call in COMMANDS]
    commands = [name.split() for name in every_command(main)]
    left = [words for words in commands if words not in [call[: len(words)] for call in tried]]
    assert [" ".join(words) for words in left] == ["restore", "data init", "data check", "study"]  # read no settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that does not exist yet, and nothing else set."""
    for name in ("DATASET", "DATASET_FILE", "DATA_DIR", "CUSTOMERS", "AS_OF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("pipeline.servers.interfaces.serve", lambda *_: 0)
    return tmp_path / "home"


def refused(result: Result, words: str) -> None:
    """One message of a few lines with these words, and no traceback."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    assert "a fault of this program" not in result.output
    assert words in result.output
    lines = [
        line for line in result.output.splitlines() if line.startswith(("Error:", "Usage:", "Try", "The night failed"))
    ]
    assert lines, result.output


def settings(text: str) -> Spoil:
    def spoil(home: Path, _: pytest.MonkeyPatch) -> None:
        home.mkdir()
        (home / "settings.yaml").write_bytes(text.encode())

    return spoil


def variable(name: str, value: str) -> Spoil:
    return lambda _, monkeypatch: monkeypatch.setenv(name, value)


def described(text: str) -> Spoil:
    """A description of a data set with this text in the place of its zone."""

    def spoil(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = shop.describe(home.parent, shop.DESCRIPTION.replace("zone: Europe/Lisbon", text))
        monkeypatch.setenv("DATASET_FILE", str(file))

    return spoil


def a_folder_in_place_of(name: str) -> Spoil:
    return lambda home, _: (home / name).mkdir(parents=True)


def a_link_to_nothing(home: Path, _: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "settings.yaml").symlink_to(home / "gone")


def a_file_as_home(home: Path, _: pytest.MonkeyPatch) -> None:
    home.write_text("mine")


def a_home_below_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("mine")
    monkeypatch.setenv("PLE_HOME", str(home / "below"))


def a_home_read_only(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.home.folder.os.access", lambda *_: False)


def a_plugin_that_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "failing_plugin.py").write_text("def extend(extensions):\n    1 / 0\n")
    monkeypatch.syspath_prepend(str(home.parent))
    settings("plugins: [failing_plugin]\n")(home, monkeypatch)


SETTINGS: dict[str, tuple[Spoil, str]] = {
    "a tab": (settings("\tseed: 3\n"), "settings.yaml, line 1"),
    "a NUL": (settings("seed: 3\0\n"), "is not allowed"),
    "two documents": (settings("seed: 3\n---\nseed: 4\n"), "holds 2 documents"),
    "a list": (settings("- seed\n"), "holds a list"),
    "a folder in its place": (a_folder_in_place_of("settings.yaml"), "Is a directory"),
    "a link to nothing": (a_link_to_nothing, "cannot be read"),
    "a key twice": (settings("seed: 3\nseed: 4\n"), "stands there twice"),
    "an unknown key": (settings("sead: 3\n"), "did you mean 'seed'"),
    "a home inside": (settings("home: /x\n"), "set PLE_HOME"),
    "yes for a number": (settings("seed: yes\n"), "seed: expected a number"),
    "a bad cron": (settings("schedule_cron: often\n"), "no cron expression"),
    "a bad store": (settings("mlflow_uri: mine\n"), "no address"),
    "a password in it": (settings("mlflow_uri: postgresql://ple:secret@db/mlflow\n"), "does not belong in mlflow_uri"),
    "an unknown kind of store": (settings("mlflow_uri: nonsense://x\n"), "of no kind that MLflow has"),
    "no plug-in": (settings("plugins: [no_such_plugin]\n"), "no_such_plugin"),
    "a plug-in that fails": (a_plugin_that_fails, "failed in extend(extensions): ZeroDivisionError"),
    "nobody's path": (settings("data_dir: ~nobody-of-that-name/x\n"), "no usable path"),
    "customers in words": (variable("CUSTOMERS", "many"), "CUSTOMERS"),
    "an unknown data set": (variable("DATASET", "completejurney"), "completejourney"),
    "a path as the name of a data set": (variable("DATASET", "../shop"), "--dataset-file"),
    "a data set that executes": (described("zone: !!python/object/apply:os.mkdir [harm]"), "shop.yaml, line"),
    "settings that execute": (settings("seed: !!python/object/apply:os.mkdir [harm]\n"), "settings.yaml, line 1"),
    "a plug-in that is a path": (settings("plugins: [../harm]\n"), "'../harm' cannot be imported"),
    "a plug-in of another package": (settings("plugins: [..harm]\n"), "'..harm' cannot be imported"),
    "a plug-in that adds nothing": (settings("plugins: [os]\n"), "no function extend"),
    "a description with a key twice": (described("zone: UTC\nzone: UTC"), "stands there twice"),
    "a description with an unknown zone": (described("zone: Europe/Lisbonne"), "did you mean 'Europe/Lisbon'"),
    "a description that is no YAML": (described("zone: ["), "shop.yaml, line"),
    "a file as home": (a_file_as_home, "is no folder"),
    "a home below a file": (a_home_below_a_file, "is no folder"),
    "a home that cannot be written": (a_home_read_only, "cannot be written"),
    "a home with a percent sign": (variable("PLE_HOME", "/tmp/a%20b"), "'%'"),
    "a home with a question mark": (variable("PLE_HOME", "/tmp/a?b"), "'?'"),
    "a home of nobody": (variable("PLE_HOME", "~nobody-of-that-name/x"), "no usable path"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_bad_settings(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, words = SETTINGS[kind]
    spoil(home, monkeypatch)
    before = sorted(home.rglob("*")) if home.is_dir() else None
    for command in COMMANDS:
        refused(CliRunner().invoke(main, command.split()), words)
    assert before is None or sorted(home.rglob("*")) == before, "a refused command wrote into the home"
    assert not Path("/tmp/a%20b").exists()
    assert not Path("harm").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("tomorrow", "YYYY-MM-DD"),
        ("2017-02-30", "YYYY-MM-DD"),
        ("1999-01-01", "1999-01-01"),
        ("2999-01-01", "2999-01-01"),
    ],
)
def test_bad_dates(
    value: str, words: str, home: Path, make_home: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_home(home)
    for command in COMMANDS:
        by_date = main
        for word in command.split()[:2]:
            by_date = by_date.commands.get(word, by_date) if isinstance(by_date, click.Group) else by_date
        if any(parameter.name == "as_of" for parameter in by_date.params) and command != "features":
            refused(CliRunner().invoke(main, [*command.split(), "--as-of", value]), words)
            with monkeypatch.context() as patch:
                patch.setenv("AS_OF", value)
                refused(CliRunner().invoke(main, command.split()), words)


def a_missing_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("mine")


def half_a_file(folder: Path) -> None:
    file = folder / "transactions.parquet"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_parquet(folder: Path) -> None:
    (folder / "customers.parquet").write_text("customer_id,joined_on\n1,2017-01-01\n")


def a_missing_column(folder: Path) -> None:
    file = folder / "transactions.parquet"
    pl.read_parquet(file).drop("amount").write_parquet(file)


def no_row(folder: Path) -> None:
    file = folder / "transactions.parquet"
    pl.read_parquet(file).head(0).write_parquet(file)


DELIVERIES: dict[Callable[[Path], None], str] = {
    a_missing_folder: "tables",
    a_file_in_its_place: "tables",
    half_a_file: "transactions",
    no_parquet: "customers",
    a_missing_column: "transactions.amount",
    no_row: "transactions",
}


@pytest.mark.parametrize("spoil", DELIVERIES)
def test_bad_deliveries(
    spoil: Callable[[Path], None],
    home: Path,
    tmp_path: Path,
    make_home: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_home(home)
    monkeypatch.setenv("DATASET_FILE", str(shop.describe(tmp_path)))
    folder = write(shop.tables(), tmp_path / "tables")
    spoil(folder)
    for command in ("base-rates", "features --check"):
        refused(CliRunner().invoke(main, command.split()), DELIVERIES[spoil])
    for command in ("nightly", "train"):
        result = CliRunner().invoke(main, [command])
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert "ingest" in result.output
        assert DELIVERIES[spoil] in result.output
    for command in set(COMMANDS) - {"base-rates", "features --check", "nightly", "train"}:
        result = CliRunner().invoke(main, command.split())  # reads no delivery: it answers, or says what is missing
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
        assert "Traceback" not in result.output
        assert "a fault of this program" not in result.output


def test_a_server_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings("mlflow_uri: http://127.0.0.1:9\n")(home, monkeypatch)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(
        "pipeline.home.folder.Home.prepare", lambda self, *_: self.dagster.mkdir(parents=True, exist_ok=True)
    )
    for command in ("nightly", "explain task churn", "promote", "promote 3", "rollback"):
        refused(CliRunner().invoke(main, command.split()), "MLflow")


@pytest.mark.parametrize("text", ["\ttelemetry: on\n", "no_such_section: {}\n"])
def test_a_bad_configuration_of_dagster_is_named(text: str, home: Path, make_home: Callable[[Path], Path]) -> None:
    make_home(home)
    (home / "dagster").mkdir(exist_ok=True)
    (home / "dagster" / "dagster.yaml").write_text(text)
    for command in ("nightly", "train", "promote", "rollback"):
        refused(CliRunner().invoke(main, [command]), "agster")


def test_without_any_version_nothing_is_promoted_or_rolled_back(home: Path, make_home: Callable[[Path], Path]) -> None:
    make_home(home)
    for command, words in (("promote", "no challenger"), ("promote 7", "no version 7"), ("rollback", "no champion")):
        refused(CliRunner().invoke(main, command.split()), words)


def test_a_fault_of_the_program_is_kept_in_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of the program")

    monkeypatch.setattr("pipeline.commands.model.settings_of", fail)
    result = CliRunner().invoke(main, ["model"])
    assert result.exit_code == 1
    assert "a fault of this program, ZeroDivisionError: of the program" in result.output
    assert "Traceback" not in result.output
    [file] = (home / "logs").iterdir()
    assert str(file) in result.output
    assert "ZeroDivisionError" in file.read_text()
    shutil.rmtree(home)
    assert "in fail" in CliRunner().invoke(main, ["model"]).output, "without a home it is shown"
