"""Where a table of a database lies, and by which column it is read day by day: what may be written, typed and closed.

No connection is made here: reading belongs to `pipeline/intake/extracts.py`. Source: DATA §1.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from feature_assets.closed import Closed, Misplaced

SCHEME = "postgresql"
FORM = f"{SCHEME}://user@host:5432/database"
REREAD_DAYS = 7
PASSWORD = "PGPASSWORD, or a line in the file that PGPASSFILE names"


class DatabaseTable(Closed):
    """A table of a PostgreSQL database, or what one SELECT gives.

    Attributes:
        url: `postgresql://user@host:5432/database`, options of libpq behind a `?`; never with a password.
        table: `schema.name`, or `name` where the user's search path leads to it; letters count as they are written.
        query: instead of `table`: one SELECT.
        since: its column of a day or an instant by which a night reads what is new; without it all rows are read every
            night.
        reread_days: so many days before what was read already are read again, for rows that came late or changed.
    """

    url: str
    table: str | None = None
    query: str | None = None
    since: str | None = None
    reread_days: int = Field(default=REREAD_DAYS, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _a_mapping(cls, data: Any) -> Any:
        if not isinstance(data, dict):  # what stands there may hold a password, so it is not shown
            raise ValueError(f"expected {{url: {FORM}, table: schema.name, since: column}}")
        return data

    @field_validator("url", mode="before")
    @classmethod
    def _without_a_password(cls, url: Any) -> Any:
        words = f"expected {FORM}"
        try:
            parts = urlsplit(url) if isinstance(url, str) else None
            port = parts.port if parts else None
        except ValueError:  # its message would repeat what stands there
            raise ValueError(words) from None
        if parts is None:
            raise ValueError(words)
        if parts.password is not None or any("password" in key.lower() for key, _ in parse_qsl(parts.query, True)):
            raise ValueError(f"a password does not belong here: take it out, and set {PASSWORD}")
        if parts.scheme != SCHEME:
            raise ValueError(f"{parts.scheme or 'this'} is not read: {words}. Export other databases as Parquet or CSV")
        if not parts.path.strip("/") or port == 0:
            raise ValueError(f"names no database: {words}")
        return url

    @field_validator("table")
    @classmethod
    def _a_name(cls, table: str | None) -> str | None:
        if table is not None and (table.count(".") > 1 or not all(part.strip() for part in table.split("."))):
            raise ValueError(f"{table!r} is not of the form schema.name; write another one as a query")
        return table

    @field_validator("query")
    @classmethod
    def _one_select(cls, query: str | None) -> str | None:
        if query is not None and (query.split()[:1] or [""])[0].casefold() not in ("select", "with"):
            raise ValueError("is no SELECT: nothing else is sent to a database")
        if query is not None and ";" in query:
            raise ValueError("holds a semicolon: write one SELECT without any (chr(59) is one as a text)")
        return query

    @model_validator(mode="after")
    def _agree(self) -> DatabaseTable:
        if (self.table is None) == (self.query is None):
            raise ValueError("needs one of table and query")
        if self.reread_days != REREAD_DAYS and self.since is None:
            raise Misplaced("without since all rows are read every night: leave it out, or write since", "reread_days")
        return self

    @property
    def server(self) -> str:
        """Host and port, for messages."""
        parts = urlsplit(self.url)
        host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "the local socket")
        return f"{host}:{parts.port or 5432}"

    @property
    def place(self) -> str:
        """Host, port and database: one database whoever reads it."""
        return f"{self.server}/{urlsplit(self.url).path.strip('/')}"
