"""Where compiled kernels are kept: a folder for each state of their code.

numba's cache looks at the file of a function only, not at the functions of other files that it calls, so that an edit
in one kernel could leave another with its old behaviour. The folder's name is a digest of every file with a kernel.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
_MARK = b"numba"


def keep_apart(package: Path) -> None:
    """Point numba's cache at the folder of the present code, unless the environment names one; older folders go."""
    if VARIABLE in os.environ:
        return
    folder = package / "__pycache__" / f"kernels-{digest(package)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # an installation that cannot be written to: numba chooses a place of its own
        return
    os.environ[VARIABLE] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    for old in folder.parent.glob("kernels-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def digest(package: Path) -> str:
    """12 hex digits of the files that import numba, by name and content."""
    sha = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content = file.read_bytes()
        if _MARK in content:
            sha.update(file.relative_to(package).as_posix().encode() + b"\0" + content)
    return sha.hexdigest()[:12]
