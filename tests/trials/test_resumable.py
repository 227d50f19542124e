"""The plug-in of trials: what it leaves out, notes and resumes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

def test_short():
    pass

@pytest.mark.trial
def test_passes():
    pass

@pytest.mark.trial
def test_fails_at_first():
    from pathlib import Path
    assert Path("repaired").exists()
"""


def run(folder: Path, *options: str, status: int = 0) -> str:
    """The verbose report of pytest on `TESTS`, which ends with an exit status."""
    (folder / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "tests.trials.resumable", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_without_an_option_trials_are_left_out(tmp_path: Path) -> None:
    printed = run(tmp_path)
    assert "1 passed, 2 deselected" in printed, printed
    assert "test_short PASSED" in printed


def test_a_trial_that_passed_is_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path, "--trials", "work", status=1)
    assert "1 failed, 1 passed, 1 deselected" in first, first
    (tmp_path / "repaired").touch()
    second = run(tmp_path, "--trials", "work")
    assert "1 passed, 2 deselected" in second, second
    assert "test_fails_at_first PASSED" in second
    assert "1 passed before" in second
    third = run(tmp_path, "--trials", "work")
    assert "3 deselected" in third, third


def test_results_of_other_code_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "work" / "olddigest").mkdir(parents=True)
    (tmp_path / "repaired").touch()
    run(tmp_path, "--trials", "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] != ["olddigest"]
    assert not (tmp_path / "work" / "olddigest").exists()


@pytest.mark.parametrize(("minutes", "word"), [("0", "2 skipped"), ("5", "2 passed")])
def test_a_sample_starts_nothing_after_its_minutes(minutes: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "repaired").touch()
    printed = run(tmp_path, "--trials", "work", "--minutes", minutes)
    assert word in printed, printed
