"""A training set made by hand, and a bundle trained on it once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_assets.data.dataset import DatasetConfig
from pipeline.training import model
from tests.pipeline.small_training import Material, fill


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """The network is so small that threads would only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def made(tmp_path: Path) -> Material:
    """A workspace whose training set is ready."""
    return fill(tmp_path / "training")


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, dataset: DatasetConfig) -> Path:
    material = fill(tmp_path_factory.mktemp("trained") / "training")
    model.train(material.workspace, material.plan, dataset, material.settings, lambda _: None, lambda _: None)
    return material.workspace.folder


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Material:
    """The same with a bundle."""
    material = fill(tmp_path / "training")
    for name in ("bundle", "trees"):
        shutil.copytree(_trained / name, material.workspace.folder / name)
    shutil.copy(_trained / "found.json", material.workspace.folder)
    return material


@pytest.fixture
def said() -> list[str]:
    """Lines that a step logged: pass `said.append`."""
    return []
