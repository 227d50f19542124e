"""The ledger of a table in an object store: every version that was ever begun, so that none has to be found by listing.

    published/tables.json              the names of all tables
    published/<table>/ledger.json      dates and versions of one

The pointers alone say what is published. The ledger says which names to ask for; it is written before and after each
change, and a date between the two is open: its pointer is asked. One that is lost is made again from a listing.
"""

import json
import logging
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.resources.remote import Remote
from pipeline.resources.versions import DATE, PUBLISHED, path_of

TABLES = f"{PUBLISHED}/tables.json"
_LEDGER = "ledger.json"
_VERSION = re.compile(rf"({DATE.pattern})/([0-9a-f]{{16}})/as_of=\1/part-\2\.parquet")


@dataclass
class Kept:
    """A version: its bytes, and the instant (since 1970) at which it was begun or its readers began to leave it."""

    bytes: int
    since: float


@dataclass
class Day:
    """A date of a table.

    Attributes:
        now: version that is published; None without one. Without meaning while the date is open.
        open: whether a change was begun and not noted as done.
        versions: name → what is known of it.
    """

    now: str | None = None
    open: bool = True
    versions: dict[str, Kept] = field(default_factory=dict)


@dataclass
class Ledger:
    """The dates of a table."""

    remote: Remote
    table: str
    days: dict[str, Day]

    @classmethod
    def read(cls, remote: Remote, table: str) -> "Ledger | None":
        """The ledger of a table; made from a listing where it is damaged, None where there is none."""
        content = remote.read(_path(table))
        if content is None:
            return None
        try:
            days = {day: _day(known) for day, known in json.loads(content)["days"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls.found(remote, table)
        return cls(remote, table, days)

    @classmethod
    def found(cls, remote: Remote, table: str) -> "Ledger":
        """What a listing shows of a table, every date open."""
        days: dict[str, Day] = {}
        root = f"{PUBLISHED}/{table}/"
        for path in remote.listed(root.rstrip("/")):
            if found := _VERSION.fullmatch(path.removeprefix(root)):
                seen = remote.look(path)
                kept = Kept(seen.bytes if seen else 0, time.time())
                days.setdefault(found[1], Day()).versions[found[2]] = kept
        if days:
            logging.getLogger(__name__).warning("the ledger of %s was lost; it is made again from a listing", table)
        return cls(remote, table, days)

    def write(self) -> None:
        """Put it in its place. Dates of which nothing is kept go."""
        self.days = {day: known for day, known in sorted(self.days.items()) if known.versions or known.open}
        content = {"days": {day: asdict(known) for day, known in self.days.items()}}
        self.remote.write(_path(self.table), json.dumps(content, indent=1).encode())

    def path(self, day: str, version: str) -> str:
        """Where the file of a version lies."""
        return path_of(self.table, day, version)


def known_tables(remote: Remote) -> list[str]:
    """Names of all tables; from a listing where the note of them is lost."""
    content = remote.read(TABLES)
    try:
        names = json.loads(content) if content is not None else None
    except ValueError:
        names = None
    if isinstance(names, list):
        return sorted(str(name) for name in names)
    root, end = f"{PUBLISHED}/", f"/{_LEDGER}"
    found = (path for path in remote.listed(PUBLISHED) if path.endswith(end))
    return sorted(path.removeprefix(root).removesuffix(end) for path in found)


def note_table(remote: Remote, table: str) -> None:
    """Note the name of a table."""
    names = known_tables(remote)
    if table not in names:
        remote.write(TABLES, json.dumps(sorted([*names, table]), indent=1).encode())


def _path(table: str) -> str:
    return f"{PUBLISHED}/{table}/{_LEDGER}"


def _day(known: dict[str, Any]) -> Day:
    versions = {str(name): Kept(int(kept["bytes"]), float(kept["since"])) for name, kept in known["versions"].items()}
    return Day(known["now"], bool(known["open"]), versions)
