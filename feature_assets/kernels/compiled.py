"""The cache of compiled kernels: a folder for each state of their code.

numba's cache looks at the file of a function only, not at the functions of other files that it calls, so that an edit
in one kernel could leave another with its old behaviour. The folder's name is a digest of every file with a kernel.
Nothing happens on import: a program calls `use_cache` before it calls a kernel.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "NUMBA_CACHE_DIR"
"""numba's own setting. It stays in the environment, so that the worker processes of this one use the same folder."""
PACKAGE = Path(__file__).parents[1]
_MARK = b"numba"


def use_cache(folder: Path, package: Path = PACKAGE) -> Path:
    """Let numba keep compiled kernels in `folder/<digest of their code>`, and delete the folders of older code.

    An environment that names `NUMBA_CACHE_DIR` is left alone. The folder itself is created by numba when it first
    compiles.

    Args:
        folder: where the folders of all states of the code lie.
        package: the Python package whose files with kernels decide about the digest.

    Returns:
        The folder in use.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    chosen = folder.resolve() / digest(package)
    os.environ[VARIABLE] = str(chosen)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(chosen)
        for kernel in _imported(package.name):
            kernel.enable_caching()  # numba chose a folder when it was imported: choose again
    for old in folder.iterdir() if folder.is_dir() else ():
        if old != chosen:
            shutil.rmtree(old, ignore_errors=True)
    return chosen


def _imported(package: str) -> Iterator[Any]:
    """Kernels with a cache of the modules of a package that are imported already."""
    from numba.core.caching import FunctionCache
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package:
            for value in list(vars(module).values()):
                if isinstance(value, Dispatcher) and isinstance(getattr(value, "_cache", None), FunctionCache):
                    yield value


def digest(package: Path) -> str:
    """12 hex digits of the files that import numba, by name and content."""
    sha = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        content = file.read_bytes()
        if _MARK in content:
            sha.update(file.relative_to(package).as_posix().encode() + b"\0" + content)
    return sha.hexdigest()[:12]
