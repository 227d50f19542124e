"""The tests of whole nights, of the daemon and of runs once more, with every home on a PostgreSQL server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import postgres_server

FOLDER = Path(__file__).parent
FILES = (
    *("runs/test_runs.py", "runs/test_signs.py", "upkeep/test_retention.py"),
    *("nights/test_schedules.py", "nights/test_backfill.py", "nights/test_night.py"),
)


@pytest.mark.trial
@pytest.mark.skipif(bool(postgres_server.MISSING), reason=postgres_server.MISSING)
@pytest.mark.parametrize("files", [("test_nights.py",), ("test_daemon.py",), FILES], ids=lambda files: files[0])
def test_the_same_tests_pass_on_postgres(files: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-n0", "--store", "postgres", "-m", "trial or not trial"]
    own = {"PYTEST_DEBUG_TEMPROOT": str(tmp_path)}  # it would clear the folders of the run that it is part of
    done = subprocess.run(
        [*command, *(str(FOLDER / file) for file in files)],
        cwd=FOLDER.parents[1],
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
