"""docs/deploy: what its files name exists, no password stands in them, and nothing listens beyond loopback."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from pipeline.cli import main
from pipeline.servers.interfaces import SERVERS, Ports
from pipeline.settings import load_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
UNITS = sorted(file for file in DEPLOY.iterdir() if file.suffix in (".service", ".timer"))
HARDENED = {
    **{"UMask": "0077", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes"},
    **{"CapabilityBoundingSet": "", "User": "ple"},
}


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Build(Closed):
    context: str
    dockerfile: str


class Service(Closed):
    """As much of Compose's schema as the file uses."""

    image: str
    build: Build | None = None
    command: list[str] = []
    init: bool = False
    environment: dict[str, str] = {}
    secrets: list[str] = []
    volumes: list[str] = []
    ports: list[str] = []
    profiles: list[str] = []
    depends_on: dict[str, dict[str, str]] = {}
    healthcheck: dict[str, Any] = {}
    restart: str = "no"
    cap_drop: list[str] = []
    security_opt: list[str] = []


class Compose(Closed):
    name: str
    services: dict[str, Service]
    secrets: dict[str, dict[str, str]]
    volumes: dict[str, None]
    shared: Any = Field(alias="x-ple")


@pytest.fixture(scope="module")
def compose() -> Compose:
    return Compose.model_validate(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def check_command(words: list[str]) -> None:
    """A command of `ple` with options that it has, and a server that it knows."""
    assert words[0].rpartition("/")[2] == "ple", words
    verb = main.commands[words[1]]
    context = verb.make_context(words[1], words[2:], resilient_parsing=False)
    assert isinstance(context, click.Context)
    if (server := context.params.get("only")) is not None:
        assert server == "%i" or server in SERVERS


def test_compose_names_what_exists_and_listens_on_loopback(compose: Compose) -> None:
    for name, service in compose.services.items():
        assert set(service.secrets) <= set(compose.secrets), name
        assert set(service.depends_on) <= set(compose.services), name
        for mount in service.volumes:
            source = mount.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose.volumes, mount
        assert all(port.startswith("127.0.0.1:") for port in service.ports), name
        if service.build is not None:
            context = (DEPLOY / service.build.context).resolve()
            assert context == ROOT
            assert (context / service.build.dockerfile).is_file()
            check_command(service.command)
            assert service.cap_drop == ["ALL"]
            assert "sockets:/tmp" in service.volumes
    servers = [service.command[3] for service in compose.services.values() if "--only" in service.command]
    assert sorted(servers) == sorted(SERVERS)
    ports = [port for service in compose.services.values() for port in service.ports]
    assert sorted(ports) == sorted(f"127.0.0.1:{port}:{port}" for port in astuple(Ports()))


def test_no_password_stands_in_the_files(compose: Compose) -> None:
    for name, service in compose.services.items():
        secret = {key for key in service.environment if "PASSWORD" in key and not key.endswith("_FILE")}
        assert secret == set(), name
    assert list(compose.secrets["postgres_password"]) == ["environment"]
    for file in DEPLOY.iterdir():
        assert not re.search(r"://[^/\s:@]+:[^@\s]+@", file.read_text()), file


def test_the_settings_of_compose_are_valid(tmp_path: Path, compose: Compose) -> None:
    shutil.copy(DEPLOY / "settings.yaml", tmp_path)
    settings = load_settings(home=tmp_path)
    made = re.findall(r"^CREATE DATABASE (\w+) OWNER ple;", (DEPLOY / "databases.sql").read_text(), re.MULTILINE)
    for uri, database in ((settings.dagster_storage, "dagster"), (settings.mlflow_uri, "mlflow")):
        assert uri is not None
        host = uri.partition("@")[2].partition(":")[0]
        assert host in compose.services
        assert uri.endswith(f"/{database}")
        assert database in made


def test_the_image_copies_what_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    context = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert [path for path in copied if f"!{path}" not in context] == []
    assert {"feature_assets", "ple_model", "pipeline", "data"} <= set(copied)
    script = DEPLOY / "with-password"
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", script], check=True)


def unit(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file.read_text())
    return parser


@pytest.mark.parametrize("file", [file for file in UNITS if file.suffix == ".service"], ids=lambda file: file.name)
def test_a_service_is_hardened_and_calls_a_command_that_exists(file: Path) -> None:
    service = unit(file)["Service"]
    assert {key: service[key] for key in HARDENED} == HARDENED
    check_command(service["ExecStart"].split())
    assert "MemoryDenyWriteExecute" not in service, "kernels are compiled while they run"
    assert "PrivateTmp" not in service, "the services look for each other's sockets"


def test_the_timer_starts_a_service_that_is_there() -> None:
    [timer] = [file for file in UNITS if file.suffix == ".timer"]
    assert timer.with_suffix(".service").is_file()
    assert unit(timer)["Timer"].getboolean("Persistent")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for file in UNITS:  # the program and its folder are not installed here
        text = file.read_text().replace("/opt/ple/.venv/bin/ple", "/bin/true").replace("/opt/ple", "/")
        (tmp_path / file.name.replace("@", "@mlflow")).write_text(text)
    files = sorted(tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
