"""What stops a command from outside, in one sentence: Ctrl-C, SIGTERM, a person in the UI.

Dagster takes both signals for one and drops which it was, so they are noted here by their numbers.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

CTRL_C, BY_SIGTERM, IN_THE_UI = "Ctrl-C", "SIGTERM (kill, a service that stops, or a shutdown)", "a person in the UI"
STATUS = {CTRL_C: 130, BY_SIGTERM: 143, IN_THE_UI: 1}
"""By what → exit status: as a shell gives it to a process that a signal ended."""
GOES_ON = "The same command goes on where it was stopped."
_SIGNALS = {signal.SIGINT: CTRL_C, signal.SIGTERM: BY_SIGTERM}
_noted: list[socket.socket] = []
"""Where the signals of this process are noted, one byte each; the innermost block of `noticed` is the last."""


class Stopped(Exception):
    """A command was stopped from outside.

    Attributes:
        by: what stopped it.
    """

    def __init__(self, by: str, what: str, published: str) -> None:
        super().__init__(f"{what} was stopped by {by}; {published}. {GOES_ON}")
        self.by = by


@contextmanager
def noticed() -> Iterator[None]:
    """Within the block SIGTERM ends what runs as Ctrl-C does (KeyboardInterrupt), and `signalled` knows which came.

    Only the main thread gets signals; in another one the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    _noted.append(reader)
    try:
        yield
    finally:
        _noted.remove(reader)
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


def signalled() -> str:
    """By which of the two signals this process was last stopped; empty where by none."""
    try:
        numbers = _noted[-1].recv(4_096, socket.MSG_PEEK) if _noted else b""
    except BlockingIOError:
        return ""
    return next((_SIGNALS[signal.Signals(n)] for n in reversed(numbers) if n in _SIGNALS), "")


def end_with(parent: int) -> None:
    """End this process once its parent has, however that one ends: it would go on with what nobody waits for."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
