"""A kernel's cache never outlives the code of any kernel that it may call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_assets.kernels import compiled

CALLED = "from numba import njit\n\n@njit(cache=True)\ndef inner():\n    return {}\n"
CALLER = """
from numba import njit
from pack.called import inner

@njit(cache=True)
def outer():
    return inner()
"""
SCRIPT = """
import sys
from pathlib import Path
from feature_assets.kernels.compiled import use_cache
assert "numba" not in sys.modules
if sys.argv[3] == "imported before":
    import pack.caller
use_cache(Path(sys.argv[1]), Path(sys.argv[2]))
from pack.caller import outer
print(outer())
"""


@pytest.mark.parametrize("when", ["imported before", "imported after"])
def test_an_edit_of_a_called_kernel_reaches_its_callers(when: str, tmp_path: Path) -> None:
    package, cache = tmp_path / "pack", tmp_path / "cache"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "caller.py").write_text(CALLER)
    environment = {k: v for k, v in os.environ.items() if k != compiled.VARIABLE}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"
    for value in (1, 2):
        (package / "called.py").write_text(CALLED.format(value))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(cache), str(package), when],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(value)]
        assert [f.name for f in cache.iterdir()] == [compiled.digest(package)], "the folder of older code is deleted"
        assert list(cache.rglob("*.nbc")), "the kernels are kept in it"
        assert not list(package.rglob("*.nbc"))


def test_a_named_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, others = tmp_path / "named", tmp_path / "others"
    (others / "older").mkdir(parents=True)
    monkeypatch.setenv(compiled.VARIABLE, str(named))
    assert compiled.use_cache(others) == named
    assert os.environ[compiled.VARIABLE] == str(named)
    assert [f.name for f in others.iterdir()] == ["older"]


def test_importing_the_package_touches_neither_disk_nor_environment(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    script = f"import os, feature_assets, feature_assets.kernels.compiled; print({compiled.VARIABLE!r} in os.environ)"
    environment = {k: v for k, v in os.environ.items() if k != compiled.VARIABLE}
    environment |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "False", done.stderr
    assert list(tmp_path.iterdir()) == []
