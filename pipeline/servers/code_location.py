"""The code location as a process of its own: the one that holds the code and executes the daemon's and the pages' runs.

Whoever reaches its port can have it execute a run: it listens on loopback, or in a container that the daemon and the
pages alone reach.
"""

import json
import os
import sys
from pathlib import Path

from pipeline.home.folder import Home
from pipeline.settings import WORKSPACE, Settings

NAME = "code-location"
PORT = 4266


def server(listen: str) -> list[str]:
    """The command of the process."""
    return [
        *(str(Path(sys.executable).parent / "dagster"), "api", "grpc"),
        *("--module-name", "pipeline.definitions", "--attribute", "definitions"),
        *("--host", listen, "--port", str(PORT)),
    ]


def workspace(home: Home, settings: Settings) -> Path:
    """The file that tells Dagster's daemon and pages where the code is: in a process that each starts, or in the one at
    `code_location`, whose file is written into the home."""
    if settings.code_location is None:
        return WORKSPACE
    host, _, port = settings.code_location.rpartition(":")
    at = {"host": host, "port": int(port), "location_name": "ple"}
    file = home.dagster / "workspace.yaml"
    beside = file.with_name(f".{os.getpid()}-workspace.yaml")
    beside.write_text(json.dumps({"load_from": [{"grpc_server": at}]}))  # JSON is YAML
    beside.replace(file)
    return file
