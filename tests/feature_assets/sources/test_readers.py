"""The registry of readers, and the code that decides what is read from a delivery."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import feature_assets
from feature_assets.data.dataset import DatasetConfig
from feature_assets.sources import read_delivery, reading_code

PACKAGE = Path(feature_assets.__file__).parent


def test_an_unknown_reader_names_the_nearest(dataset: DatasetConfig) -> None:
    with pytest.raises(ValueError, match=r"completejourney\.yaml: source: .*'contract_file'; did you mean 'contract"):
        read_delivery(dataset.model_copy(update={"source": "contract_file"}))


def test_reading_code_is_what_the_readers_import() -> None:
    listed = {str(path.relative_to(PACKAGE)) for path in reading_code()}
    assert {"closed.py", "data/contract.py", "data/quarantine.py", "sources/contract_files.py"} <= listed
    assert {name.partition("/")[0] for name in listed} == {"closed.py", "data", "sources", "yaml_file.py"}
    script = (
        "import sys, feature_assets.sources\n"
        "for name, module in sys.modules.items():\n"
        "    if name.startswith('feature_assets.'): print(module.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = {str(Path(line).relative_to(PACKAGE)) for line in done.stdout.split()}
    kernels = {name for name in imported if name.startswith("kernels/")}  # they encode tables that were read
    assert imported - kernels <= listed
