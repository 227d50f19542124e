"""Fixtures that every test package may use: the embedded data set, read once for all workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from feature_assets.data.dataset import DatasetConfig, load_dataset
from feature_assets.kernels.compiled import use_cache

if TYPE_CHECKING:
    from feature_assets.data.tables import Tables

pytest_plugins = ("tests.trials.resumable", "tests.pipeline.stores")

DATA_ROOT = Path(__file__).parents[1] / "data"  # what `feature_assets/datasets` links to


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled kernels for the next run; nothing that holds a kernel is imported before."""
    use_cache(config.rootpath / ".pytest_cache" / "kernels")


LONGEST = ("test_nights.py", "test_group_properties.py", "test_trainer.py")
"""Files that take minutes: they go first, so that no worker is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they are."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def dataset() -> DatasetConfig:
    """The description of the embedded data set."""
    return load_dataset("completejourney", DATA_ROOT)


@pytest.fixture(scope="session")
def tables(dataset: DatasetConfig, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The embedded data set, validated. The first worker that needs it reads the delivery, the others its result."""
    from feature_assets.data.tables import Tables
    from feature_assets.sources import load_tables

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "embedded_tables"
    if not shared.exists():
        made = load_tables(dataset)
        mine = shared.with_name(f"embedded_tables_{os.getpid()}")
        made.save(mine)
        try:
            mine.rename(shared)
        except OSError:  # another worker was first: its tables are the same
            return made
    return Tables.load(shared)
