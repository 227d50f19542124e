"""Digests of content: of files, of code, and a seal by which a folder proves that it is what was written."""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import feature_assets
import pipeline
import ple_model
from pipeline.resources.files import publish_json

SEAL = "seal.json"
LIBRARIES = ("lightgbm", "numba", "numpy", "polars", "scikit-learn", "scipy", "torch")
"""Packages that decide how sums are rounded."""


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes. A file that this process has read and that has not changed since is not read again."""
    stat = file.stat()
    return _digest(file, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _digest(file: Path, size: int, changed: int, inode: int) -> str:  # noqa: ARG001 (they are the key of the cache)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def package_files() -> list[Path]:
    """Python files of the three packages: each of them takes part in what is computed."""
    roots = [Path(package.__path__[0]) for package in (feature_assets, ple_model, pipeline)]
    return [file for root in roots for file in root.rglob("*.py")]


def code_digest(files: Iterable[Path]) -> str:
    """SHA-256 of Python files, by name and content."""
    sha = hashlib.sha256()
    for file in sorted(files):
        sha.update(f"{file.name} {file_digest(file)} ".encode())
    return sha.hexdigest()


def seal(folder: Path) -> None:
    """Note the digest of every file of a finished folder in the folder."""
    publish_json({name: file_digest(folder / name) for name in _names(folder)}, folder / SEAL)


def broken(folder: Path) -> str:
    """Why a folder is not what was sealed, in words; empty where it is."""
    if not (folder / SEAL).is_file():
        return f"{folder} was never finished"
    try:
        expected = dict(json.loads((folder / SEAL).read_text()))
    except ValueError:
        return f"{folder} was altered: {SEAL}"
    present = {name: file_digest(folder / name) for name in _names(folder)}
    changed = sorted(name for name in expected | present if expected.get(name) != present.get(name))
    return f"{folder} was altered: {', '.join(changed)}" if changed else ""


def _names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != SEAL)
