"""Where the tests' homes keep what Dagster and MLflow remember: sqlite, or with `--store postgres` a server of theirs.

A pytest plug-in. Every fixture that makes a home asks here, so that tests of whole nights run on either.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.home.folder import Home
from pipeline.settings import load_settings
from tests.pipeline import postgres_server

KEYS = ("dagster_storage", "mlflow_uri")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option `--store`."""
    parser.addoption(
        "--store", choices=("sqlite", "postgres"), default="sqlite", help="where the tests' homes keep runs"
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """A server that every test of this worker shares, and its password in the environment."""
    if postgres_server.MISSING:
        pytest.skip(postgres_server.MISSING)
    with postgres_server.running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", postgres_server.PASSWORD)
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # a database that is connected cannot be copied
        yield server


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest) -> postgres_server.Server | None:
    """The server on which every home lies; None where that is sqlite."""
    if request.config.option.store == "sqlite":
        return None
    server: postgres_server.Server = request.getfixturevalue("postgres")
    return server


def settings_of(home: Path) -> dict[str, Any]:
    """What the settings of a home say."""
    file = home / "settings.yaml"
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def write_settings(home: Path, settings: Mapping[str, Any]) -> None:
    """Settings beside those that say where the home keeps what Dagster and MLflow remember."""
    kept = {key: value for key, value in settings_of(home).items() if key in KEYS}
    (home / "settings.yaml").write_text(yaml.safe_dump({**settings, **kept}))


def prepare(home: Path, server: postgres_server.Server | None = None) -> Home:
    """A prepared home, on new databases of a server where one is given."""
    home.mkdir(parents=True, exist_ok=True)
    if server is not None:
        write_settings(home, {key: server.database() for key in KEYS})
    settings = load_settings(home=home)
    prepared = Home(home)
    prepared.prepare(settings.dagster_storage, settings.mlflow_uri)
    return prepared


def copy(home: Path, to: Path, server: postgres_server.Server | None) -> Path:
    """Copy a home, with its databases where it has some."""
    shutil.copytree(home, to)
    settings = settings_of(home)
    if server is not None and KEYS[0] in settings:
        copies = {key: server.database(template=settings[key].rpartition("/")[2]) for key in KEYS}
        (to / "settings.yaml").write_text(yaml.safe_dump(settings | copies))
        prepare(to)
    return to


def tracking_uri(home: Path) -> str:
    """The address of a home's MLflow, as its settings say."""
    return load_settings(home=home).mlflow_uri or Home(home).tracking_uri
