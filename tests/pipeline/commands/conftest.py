"""What tests of several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and an environment that names no data."""
    for name in ("DATASET", "DATASET_FILE", "DATA_DIR", "CUSTOMERS", "AS_OF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLE_HOME", str(tmp_path))
    return tmp_path
