"""Validation on machines of other sizes: the number of polars' threads decides how frames lie in chunks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from feature_assets.sources import load_tables
from pipeline.intake.deliveries import data_folder
from pipeline.settings import load_settings
settings = load_settings(home=Path(sys.argv[1]), dataset="bank_simulation", customers=1_000)
load_tables(settings.load_dataset(), data_folder(settings, lambda line: None)).save(Path(sys.argv[2]))
"""


@pytest.mark.trial
def test_tables_and_quarantine_are_the_same_on_two_threads_and_on_many(tmp_path: Path) -> None:
    for threads in (2, 16, 32):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), str(tmp_path / str(threads))],
            env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
            check=True,
        )
    files = {file.relative_to(tmp_path / "2") for file in (tmp_path / "2").rglob("*.parquet")}
    assert files
    for threads in ("16", "32"):
        for file in files:
            assert (tmp_path / threads / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), (threads, file)
