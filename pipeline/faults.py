"""What lies below this program and can fail: disk, rights, databases, network, memory. Each in words, with what to do,
and whether it can pass by itself. The one place that knows these kinds.

A fault is told by the texts of an error and of what it was raised from, because an error of a step reaches us as text
only. An error that is of no kind here is one of the program or of its inputs: it says itself what it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

AGAIN = "Nothing published is lost; run the same command again afterwards."


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        what: is wrong.
        do: what a person does about it.
        passes: whether another attempt a little later may succeed.
    """

    what: str
    do: str
    passes: bool = False

    def words(self, place: str) -> str:
        """In one line; `place` is the file or the server, empty where it is not known."""
        return f"{f'{place}: ' if place else ''}{self.what}. {self.do} {AGAIN}"


FULL = Fault(
    "no space is left on the disk",
    "Make room (`ple doctor` says how much is free, and what the next night removes).",
)
QUOTA = Fault("the disk quota of this user is used up", "Make room, or have the quota raised.")
TOO_LARGE = Fault("the file would be larger than this user may write", "Raise the limit (`ulimit -f`).")
READ_ONLY = Fault(
    "the file system is read-only",
    "Mount it writable; if nobody made it so, its disk may be failing: look at the system's log (`dmesg`).",
)
FORBIDDEN = Fault("this user may not read or write it", "Change its owner or its rights.")
INPUT_OUTPUT = Fault(
    "the disk reports an input/output error", "Look at the system's log (`dmesg`): it may be failing.", passes=True
)
LOCKED = Fault(
    "the database is locked by another process", "Wait for that process, or stop it (`ple doctor`).", passes=True
)
DAMAGED = Fault("the database is damaged", "Restore its file from a backup.")
TOO_MANY_FILES = Fault("too many files are open", "Raise the limit (`ulimit -n`).")
MEMORY = Fault("the memory is used up", "Close other programs, or use a machine with more memory.")
LOST = Fault("the server does not answer", "Start it, or look at the network between here and there.", passes=True)
AWAY = Fault(LOST.what, LOST.do)
"""A server that many attempts did not reach: those of another step would only take time."""

BY_NUMBER = {
    1: FORBIDDEN, 5: INPUT_OUTPUT, 12: MEMORY, 13: FORBIDDEN, 23: TOO_MANY_FILES, 24: TOO_MANY_FILES, 27: TOO_LARGE,
    28: FULL, 30: READ_ONLY, 32: LOST, 100: LOST, 101: LOST, 103: LOST, 104: LOST, 110: LOST, 111: LOST, 112: LOST,
    113: LOST, 116: INPUT_OUTPUT, 122: QUOTA,
}  # fmt: skip
"""Number of the system's error (Linux) → fault."""
BY_PHRASE = {
    "has not answered for long": AWAY,
    "database or disk is full": FULL,
    "could not extend file": FULL,
    "readonly database": READ_ONLY,
    "unable to open database file": FORBIDDEN,
    "disk i/o error": INPUT_OUTPUT,
    "database is locked": LOCKED,
    "database table is locked": LOCKED,
    "deadlock detected": LOCKED,
    "could not serialize access": LOCKED,
    "canceling statement due to conflict with recovery": LOCKED,
    "database disk image is malformed": DAMAGED,
    "file is not a database": DAMAGED,
    "server closed the connection": LOST,
    "terminating connection": LOST,
    "connection has been closed unexpectedly": LOST,
    "could not receive data from server": LOST,
    "connection already closed": LOST,
    "remaining connection slots": LOST,
    "connection to server": LOST,
    "could not connect to server": LOST,
    "the database system is": LOST,
    "too many clients already": LOST,
    "max retries exceeded with url": LOST,
    "connection refused": LOST,
    "connection aborted": LOST,
    "connection reset by peer": LOST,
    "remote end closed connection": LOST,
    "read timed out": LOST,
    "failed with error code 502": LOST,
    "failed with error code 503": LOST,
    "failed with error code 504": LOST,
    "std::bad_alloc": MEMORY,
    "no space left on device": FULL,
    "read-only file system": READ_ONLY,
    "permission denied": FORBIDDEN,
    "input/output error": INPUT_OUTPUT,
    "disk quota exceeded": QUOTA,
}
"""What sqlite, PostgreSQL, HTTP clients and libraries without numbers say → fault."""
BY_CLASS = {
    "ConnectionError": LOST,
    "ConnectionAbortedError": LOST,
    "ConnectionRefusedError": LOST,
    "ConnectionResetError": LOST,
    "BrokenPipeError": LOST,
    "TimeoutError": LOST,
    "ConnectTimeout": LOST,
    "ReadTimeout": LOST,
    "MemoryError": MEMORY,
    "OutOfMemoryError": MEMORY,
}
"""Name of an error's class → fault, where its text says nothing."""
_NUMBER = re.compile(r"\[?\b(?:errno|os error) (\d+)\b", re.IGNORECASE)
_PLACE = re.compile(
    r"""^\[Errno\ \d+\][^:]*:\ (?P<q>['"])(?P<file>.+?)(?P=q)  # of the system, in Python's words
    | https?://(?!sqlalche\.me)(?:[^/\s'"@]*@)?(?P<url>[^/\s'"@]+)
    | server\ (?:at|on\ socket)\ "(?P<host>[^"]+)\"""",
    re.VERBOSE,
)


def in_words(error: "BaseException | SerializableErrorInfo") -> str:
    """The fault behind an error in one line, after what the error itself says where that names no fault; empty where
    it is of no kind here."""
    own = ""
    for name, text in _chain(error):
        if (fault := _fault(name, text)) is not None:
            found = _PLACE.search(text)
            place = next(filter(None, found.group("file", "url", "host")), "") if found else ""
            return f"{own}{fault.words(place)}"
        own = own or (f"{' '.join(text.split())}: " if text else "")
    return ""


def passes(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    first = next((fault for name, text in _chain(error) if (fault := _fault(name, text))), None)
    return first is not None and first.passes


def _fault(name: str, text: str) -> Fault | None:
    return _by_text(text) or BY_CLASS.get(name)


def _by_text(text: str) -> Fault | None:
    number = _NUMBER.search(text)
    if number and int(number[1]) in BY_NUMBER:
        return BY_NUMBER[int(number[1])]
    said = text.casefold()
    return next((fault for phrase, fault in BY_PHRASE.items() if phrase in said), None)


def _chain(error: "BaseException | SerializableErrorInfo | None") -> Iterator[tuple[str, str]]:
    """Class and text of an error and of what it was raised from, outermost first."""
    seen = 0
    while error is not None and seen < 20:
        seen += 1
        if isinstance(error, BaseException):
            yield type(error).__name__, str(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        else:
            name = error.cls_name or ""
            yield name, re.sub(rf"^[\w.]*\b{re.escape(name)}: ?", "", error.message.strip())
            error = error.cause or error.context
