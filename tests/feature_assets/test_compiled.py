"""A kernel's cache never outlives the code of any kernel that it may call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_assets.kernels import compiled as _compiled

CALLED = "from numba import njit\n\n@njit(cache=True)\ndef inner():\n    return {}\n"
CALLER = """
from numba import njit
from pack.called import inner

@njit(cache=True)
def outer():
    return inner()
"""


def test_an_edit_of_a_called_kernel_reaches_its_callers(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    root = Path(__file__).parents[2]
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom feature_assets.kernels.compiled import keep_apart\n"
        "keep_apart(Path(__file__).parent)\n"
    )
    (package / "caller.py").write_text(CALLER)
    environment = {k: v for k, v in os.environ.items() if k != _compiled.VARIABLE}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{root}"
    script = (
        "import os, sys; sys.modules.pop('numba', None); os.environ.pop('NUMBA_CACHE_DIR', None);"
        "import feature_assets; os.environ.pop('NUMBA_CACHE_DIR', None);"
        "from pack.caller import outer; print(outer())"
    )
    for value in (1, 2):
        (package / "called.py").write_text(CALLED.format(value))
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(value)]
        assert len(list((package / "__pycache__").glob("kernels-*"))) == 1


def test_a_named_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_compiled.VARIABLE, str(tmp_path))
    _compiled.keep_apart(tmp_path)
    assert os.environ[_compiled.VARIABLE] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
