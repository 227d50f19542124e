"""A checkout of this repository and the results of its code, kept in a work folder under a digest of that code."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROBE = Path(__file__).with_name("probe.py")
FORM = "1"
"""Part of every digest: raise it when the probe computes something else, so that kept results are dropped."""
DONE = "done"
PACKAGES = ("feature_assets", "ple_model", "pipeline")


@dataclass(frozen=True)
class Checkout:
    """A checkout and the folder that keeps its results.

    Attributes:
        root: top folder of the checkout.
        work: work folder of the comparison.
    """

    root: Path
    work: Path

    @cached_property
    def folder(self) -> Path:
        """Where results of this checkout are kept: one folder a path, so that comparisons can share a work folder."""
        return self.work / f"{self.root.name}-{hashlib.sha256(str(self.root).encode()).hexdigest()[:6]}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the checkout's results, waiting for another comparison that makes them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @cached_property
    def commit(self) -> str:
        """Commit id and whether files differ from it, for people; results are kept by `digest`."""
        head = self._git("rev-parse", "--short", "HEAD")
        return f"{head} with edits" if head and self._git("status", "--porcelain") else head or "no commit"

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.root), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def digest(self, packages: tuple[str, ...]) -> str:
        """12 hex digits of the Python files of packages and of the descriptions of the data sets."""
        return self._digest([f for p in packages for f in (self.root / p).rglob("*.py")])

    def _digest(self, files: list[Path]) -> str:
        sha = hashlib.sha256(FORM.encode())
        for file in sorted([*files, *(self.root / "data").glob("*.yaml")]):
            sha.update(file.relative_to(self.root).as_posix().encode() + b"\0" + file.read_bytes())
        return sha.hexdigest()[:12]

    def environment(self) -> dict[str, str]:
        """Environment of a process that runs this checkout's code: one torch thread, compiled kernels kept apart by the
        files that declare them."""
        kernels = [f for p in PACKAGES for f in (self.root / p).rglob("*.py") if b"numba" in f.read_bytes()]
        cache = self.folder / f"numba-{self._digest(kernels)}"
        cache.mkdir(parents=True, exist_ok=True)
        mine = {"PYTHONPATH": str(self.root), "NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **mine}

    def kept(self, what: str, packages: tuple[str, ...]) -> Path:
        """The folder of a result of the present code; results of other code under the same name are dropped."""
        folder = self.folder / what / self.digest(packages)
        if not folder.exists():
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
        return folder

    def features(self, dataset: str, customers: int) -> Path:
        """Tables, labels and features of a data set, computed now or kept from an earlier call."""
        name = f"{dataset}-{customers}" if dataset == "bank_simulation" else dataset
        with self.locked():
            folder = self.kept(name, ("feature_assets",))
            if not (folder / DONE).exists():
                print(f"{self.root} ({self.commit}): {name}", file=sys.stderr, flush=True)
                command = [sys.executable, "-P", str(PROBE), str(self.root), str(folder), dataset, str(customers)]
                run(command, self.environment())
                (folder / DONE).touch()
        return folder


def run(command: list[str], environment: Mapping[str, str], cwd: Path | None = None) -> None:
    """Run a command; SystemExit with its status if it fails."""
    status = subprocess.run(command, env=dict(environment), cwd=cwd, check=False).returncode
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
