"""Locks of a home. The kernel holds them for a process and lets go with it, however it ends: no file locks anything.

Who holds a lock is written into its file, for the message to the second one. A child that a holder forks does not hold
it. What they guard is said where they are taken: `home.py`, `runs.py`, `signs.py`.
"""

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

TRIES, PAUSE = 5, 0.05
"""A lock that is only looked at is held for an instant: an attempt is made so often, with so many seconds between."""
WIDTH = 1_024
"""Bytes of the note; it is written by one call, so that a reader never sees a part."""
_open: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _let_go_in_child() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: process, machine, since when (UTC), for what, and in which run (empty: in none yet)."""

    pid: int
    host: str
    since: str
    what: str
    run_id: str = ""

    def words(self) -> str:
        """In one phrase, for a person who wants to find the process."""
        run = f"run {self.run_id[:8]}, " if self.run_id else ""
        host = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"{self.what} ({run}process {self.pid}{host}, since {self.since})"


class Lock:
    """One lock, as a context that lets go at its end. Within a process each object is a holder of its own.

    Attributes:
        before: who held it last, once it is held.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before: Holder | None = None
        self._descriptor: int | None = None
        self._since = ""

    def acquire(self, what: str, run_id: str = "") -> bool:
        """Take the lock and note who has it; False where another holds it."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)
        for attempt in range(TRIES):
            if _flock(descriptor, fcntl.LOCK_EX):
                self._descriptor = descriptor
                self._since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
                _open.add(descriptor)
                self.before = _noted(self.file)
                self.note(what, run_id)
                return True
            if attempt < TRIES - 1:
                time.sleep(PAUSE)
        os.close(descriptor)
        return False

    def note(self, what: str, run_id: str = "") -> None:
        """Say for what the lock is held from now on."""
        assert self._descriptor is not None, f"{self.file} is not held"
        holder = Holder(os.getpid(), socket.gethostname(), self._since, what, run_id)
        os.pwrite(self._descriptor, json.dumps(asdict(holder)).encode().ljust(WIDTH), 0)

    def holder(self) -> Holder | None:
        """Who holds this lock."""
        return holder(self.file)

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            _open.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def is_held(file: Path) -> bool:
    """Whether a living process holds the lock of a file; where there is no such file, none does."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holder(file: Path) -> Holder | None:
    """Who holds the lock of a file; None where nobody does, or the holder has just begun and is not noted yet."""
    return _noted(file) if is_held(file) else None


def _noted(file: Path) -> Holder | None:
    try:
        return Holder(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
