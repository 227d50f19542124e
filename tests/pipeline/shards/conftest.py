"""A toy delivery of forty customers, and every runner."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from feature_assets.data.tables import Tables
from pipeline.resources.blocks import Shard, Views
from pipeline.resources.digests import seal
from pipeline.settings import Settings
from pipeline.shards.runner import ShardRunner, runner_of
from tests.deliveries import synthetic

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `ray`")
POOLS = ["local", pytest.param("ray", marks=needs_ray)]
"""Runners with processes of their own."""
POOLS_AT_LENGTH = ["local", pytest.param("ray", marks=[needs_ray, pytest.mark.trial])]
"""The same; each start of a cluster takes ten seconds and more."""


def runner(kind: str, home: Path, workers: int = 2) -> ShardRunner:
    return runner_of(Settings(home=home, runner=kind, workers=workers))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    tables: Tables = synthetic.tables(40, seed=3)
    tables.save(folder)
    seal(folder)
    return folder


@pytest.fixture(scope="session")
def views(stored: Path) -> Views:
    return Views(stored, synthetic.AS_OF, 7)


@pytest.fixture(scope="session")
def shards(views: Views) -> list[Shard]:
    return views.shards()
