"""One server in place of this process: its command, and where a password is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.home.folder import Home
from pipeline.servers import interfaces as servers
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


class Stubborn(subprocess.Popen[bytes]):
    """A process that SIGTERM does not end."""

    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"

    def __init__(self) -> None:
        super().__init__([sys.executable, "-c", self.code], stdout=subprocess.PIPE, start_new_session=True)
        assert self.stdout is not None
        self.stdout.readline()  # from now on it ignores the signal


class Interrupted(Stubborn):
    """The same, and a person loses patience while it is waited for."""

    patience = True

    def wait(self, timeout: float | None = None) -> int:
        if self.patience:
            self.patience = False
            raise KeyboardInterrupt
        return super().wait(timeout)


@pytest.mark.parametrize(("kind", "seconds"), [(Stubborn, 0.1), (Interrupted, 600)])
def test_no_server_outlives_the_command(kind: type[Stubborn], seconds: float) -> None:
    processes = [kind(), Stubborn()]
    servers.stop(processes, seconds)
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2
