"""One server in place of this process: its command, and where a password is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline import servers
from pipeline.cli import main
from pipeline.home import Home
from pipeline.settings import Settings

POSTGRES = "postgresql+psycopg2://ple@db:5432/mlflow"


@pytest.mark.parametrize("name", servers.SERVERS)
def test_one_server_takes_the_place_of_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    monkeypatch.setattr(servers.os, "execve", lambda *given: called.append(given))
    monkeypatch.setattr(servers.os, "chdir", lambda _: None)
    servers.become(name, Home(tmp_path), Settings(home=tmp_path, mlflow_uri=POSTGRES), "0.0.0.0", False)
    [(program, arguments, environment)] = called
    assert program == arguments[0]
    assert "s3cret" not in " ".join(arguments)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == POSTGRES
    assert environment["DAGSTER_HOME"] == str(tmp_path / "dagster")
    assert ("0.0.0.0" in arguments) == (name != "dagster-daemon")
    assert "--writable" not in arguments


@pytest.mark.parametrize(
    ("options", "words"), [("--only web", "name dagster-webserver"), ("--listen 0.0.0.0", "--listen needs --only")]
)
def test_an_unknown_server_and_a_second_door_are_refused(options: str, words: str) -> None:
    result = CliRunner().invoke(main, ["ui", *options.split()])
    assert result.exit_code == 2
    assert words in result.output
