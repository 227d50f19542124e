"""A data set whose deliveries add up, and its inbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_assets.data.dataset import DatasetConfig
from tests.deliveries.arriving import describe


@pytest.fixture
def own(tmp_path: Path) -> DatasetConfig:
    return describe(tmp_path)


@pytest.fixture
def inbox(own: DatasetConfig) -> Path:
    assert own.folder is not None
    return own.folder
