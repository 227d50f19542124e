"""The three user interfaces on loopback: Dagster (webserver and daemon), MLflow and the browser of scores.

`serve` starts all four processes; `become` makes this process one of them, for a service manager that starts, restarts
and logs each by itself.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.home.folder import Home
from pipeline.servers import code_location
from pipeline.servers.webserver import HOST
from pipeline.settings import REPOSITORY, Settings

DAGSTER_PORT = 3000
MLFLOW_PORT = 5000
SCORES_PORT = 4000
SERVERS = ("dagster-webserver", "dagster-daemon", "mlflow", "scores")
ALONE = (*SERVERS, code_location.NAME)
"""What a service manager may start by itself; the last one where `code_location` names its address."""


@dataclass(frozen=True)
class Ports:
    """Of the servers on loopback."""

    dagster: int = DAGSTER_PORT
    mlflow: int = MLFLOW_PORT
    scores: int = SCORES_PORT


def addresses() -> dict[str, str]:
    """The addresses at which `make ui` serves, where the usual ports are free."""
    ports = {"Dagster": DAGSTER_PORT, "MLflow": MLFLOW_PORT, "Scores": SCORES_PORT}
    return {name: f"http://{HOST}:{port}" for name, port in ports.items()}


def free_port(preferred: int) -> int:
    """The preferred port on loopback, or the next one that nobody listens on."""
    for port in range(preferred, preferred + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {preferred} and {preferred + 49}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def serve(home: Home, settings: Settings, writable: bool = False, wait_seconds: int = 300) -> int:
    """Start the processes, print the addresses, and stay until interrupted or until one of them ends.

    writable: whether Dagster's pages may start, stop and delete runs.

    Returns the exit code: 0 after an interrupt, 1 when a server ended by itself or did not answer in time.
    """
    ports = Ports(free_port(DAGSTER_PORT), free_port(MLFLOW_PORT), free_port(SCORES_PORT))
    workspace = code_location.workspace(home, settings)
    commands = {name: command(name, home, workspace, HOST, ports, writable) for name in SERVERS}
    logs = home.logs
    logs.mkdir(exist_ok=True)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name, arguments in commands.items():
            with (logs / f"{name}.log").open("ab") as log:
                processes[name] = subprocess.Popen(
                    arguments,
                    env=server_environment(home, settings),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=REPOSITORY,
                    start_new_session=True,
                )
        print(f"starting Dagster, MLflow and the scores (logs in {logs}) ...", flush=True)
        deadline = time.monotonic() + wait_seconds
        while not all(_answers(port) for port in astuple(ports)):
            if _ended(processes, logs):
                return 1
            if time.monotonic() > deadline:
                print(f"no answer within {wait_seconds} seconds; see the logs in {logs}", file=sys.stderr)
                return 1
            time.sleep(0.5)
        print(
            f"Dagster  http://{HOST}:{ports.dagster}{'' if writable else ' (read-only)'}\n"
            f"MLflow   http://{HOST}:{ports.mlflow}\n"
            f"Scores   http://{HOST}:{ports.scores}\nCtrl-C stops all.",
            flush=True,
        )
        while not _ended(processes, logs):
            time.sleep(1)
        return 1
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
        return 0
    finally:
        stop(processes.values())


def stop(processes: Collection["subprocess.Popen[bytes]"], seconds: float = 15) -> None:
    """End processes, each the leader of a group: by SIGTERM, and by SIGKILL what is there after so many seconds
    altogether, or once a second Ctrl-C or SIGTERM comes."""
    deadline = time.monotonic() + seconds
    try:
        _signal(processes, signal.SIGTERM)
        for process in processes:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        pass
    finally:
        _signal(processes, signal.SIGKILL)
        for process in processes:
            process.wait()


def _signal(processes: Collection["subprocess.Popen[bytes]"], number: signal.Signals) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, number)


def become(name: str, home: Home, settings: Settings, listen: str, writable: bool) -> NoReturn:
    """Replace this process by one server, at its usual port; its output is this process's own.

    Args:
        name: one of `ALONE`.
        listen: address that it listens on. Beyond loopback only inside a container, whose port is published on
            loopback.
        writable: as in `serve`.
    """
    arguments = command(name, home, code_location.workspace(home, settings), listen, Ports(), writable)
    os.chdir(REPOSITORY)
    os.execve(arguments[0], arguments, server_environment(home, settings))


def command(name: str, home: Home, workspace: Path, listen: str, ports: Ports, writable: bool) -> list[str]:
    """The command of a server."""
    artifacts = (home.mlflow / "artifacts").as_uri()
    return {
        "dagster-webserver": [
            sys.executable, "-m", "pipeline.servers.webserver", "--workspace", str(workspace),
            "--port", str(ports.dagster), "--listen", listen, *(["--writable"] if writable else []),
        ],
        "dagster-daemon": [str(Path(sys.executable).parent / "dagster-daemon"), "run", "--workspace", str(workspace)],
        "mlflow": [
            sys.executable, "-m", "pipeline.servers.tracking_server", "--listen", listen, "--port", str(ports.mlflow),
            "--artifacts", artifacts,
        ],
        "scores": [sys.executable, "-m", "pipeline.browser", "--port", str(ports.scores), "--listen", listen],
        code_location.NAME: code_location.server(listen),
    }[name]  # fmt: skip


def server_environment(home: Home, settings: Settings) -> dict[str, str]:
    """The environment of the servers: this process's own, with the settings that their code location reads again."""
    given = {
        "DAGSTER_HOME": str(home.dagster),
        "PLE_HOME": str(home.root),
        "DATASET": "" if settings.dataset_file else settings.dataset,
        "DATASET_FILE": str(settings.dataset_file or ""),
        "DATA_DIR": str(settings.data_dir or ""),
        "CUSTOMERS": str(settings.customers),
        "MLFLOW_BACKEND_STORE_URI": settings.mlflow_uri or home.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
    }
    return os.environ | given


def _ended(processes: dict[str, "subprocess.Popen[bytes]"], logs: Path) -> bool:
    """Whether a server ended by itself; prints its name and its log file."""
    for name, process in processes.items():
        if process.poll() is not None:
            print(f"{name} ended with code {process.returncode}; see {logs / (name + '.log')}", file=sys.stderr)
            return True
    return False
