"""A real daemon in a process of its own, that can be killed with everything that it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.pipeline.running import HANGS

ROOT = Path(__file__).parents[2]


class Daemon:
    """Of one home. As a context it is killed at the end.

    Args:
        home: of the deployment.
        code: how Dagster finds the code location (`-w FILE`, or `-m MODULE`).
        environment: beside this process's own.
    """

    def __init__(self, home: Path, code: Sequence[str], environment: Mapping[str, str]) -> None:
        self.home, self.code = home, code
        self.environment = os.environ | {"DAGSTER_HOME": str(home / "dagster"), "PLE_HOME": str(home), **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output goes to `<home>/daemon.log`."""
        command = [str(Path(sys.executable).parent / "dagster-daemon"), "run", *self.code]
        with (self.home / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL to the daemon, its servers and the runs that they execute."""
        if self.process is None:
            return
        with suppress(psutil.NoSuchProcess):
            family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
            for process in reversed(family):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=30)
        self.process.wait()
        self.process = None

    def dagster(self, *arguments: str) -> str:
        """The output of a command `dagster …` about the same code."""
        command = [str(Path(sys.executable).parent / "dagster"), *arguments, *self.code]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def until(self, holds: Callable[[], bool], seconds: float = HANGS) -> None:
        """Wait until something holds, while the daemon lives."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process is not None
            assert self.process.poll() is None, (self.home / "daemon.log").read_text()[-3_000:]
            assert time.monotonic() < deadline, (self.home / "daemon.log").read_text()[-3_000:]
            time.sleep(0.5)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
