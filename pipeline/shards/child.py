"""A process of ours that talks through a pipe. It ends when this process ends, however that ends."""

import builtins
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.shards.runner import ShardFailed

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
"""Variables that give a worker one thread: the workers share the cores, and sums are the same on every machine."""
PATIENCE = 10.0
"""Seconds that a process gets to end by itself."""


def one_thread() -> dict[str, str]:
    """The environment of a worker."""
    return dict.fromkeys(THREADS, "1")


@dataclass(frozen=True)
class Failed:
    """An error in another process: its class, what it says, and where it came from."""

    kind: str
    text: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> "Failed":
        """What of an error travels."""
        return cls(type(error).__name__, str(error), "".join(traceback.format_exception(error)))

    def error(self, where: str) -> ShardFailed:
        """The error to raise. One of Python's own is its cause, by which `pipeline.faults` knows what can pass."""
        raised = ShardFailed(f"{where}: {self.kind}: {self.text}")
        known = getattr(builtins, self.kind, None)
        if isinstance(known, type) and issubclass(known, Exception):
            raised.__cause__ = _made(known, self.text)
        raised.add_note(self.trace)
        return raised


def _made(known: type[Exception], text: str) -> Exception | None:
    try:
        return known(text)
    except TypeError:  # it wants more than a text, as UnicodeDecodeError does
        return None


class Child:
    """A process that runs a function of a pipe and of other arguments."""

    def __init__(
        self, function: Callable[..., None], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        context = get_context("spawn")  # a fork would copy the threads' locks
        self.connection, theirs = context.Pipe()
        process = context.Process(target=_begin, args=(function, theirs, *arguments), daemon=True)
        with _environment(environment or {}):
            process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.process: BaseProcess = process

    def end(self) -> None:
        """Let the process end, and make it."""
        self.connection.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def kill(self) -> None:
        """End the process in the middle of what it does."""
        self.connection.close()
        self.process.terminate()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _begin(function: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends this process
    try:
        function(connection, *arguments)
    except (EOFError, BrokenPipeError):
        sys.exit()  # nobody is there any more


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The environment with these values, which a process that starts meanwhile inherits."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
