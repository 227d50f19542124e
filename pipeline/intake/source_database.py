"""A PostgreSQL database of the user's as a source: one transaction that can only read, rows as text, faults in words.

Identifiers are quoted and values bound by psycopg2. Which rows a night reads, and where they are kept, belongs to
`extracts.py`; databases of the deployment itself to `postgres.py`. The password is never here (`postgres.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from feature_assets.closed import nearest
from feature_assets.data.coercion import DeliveryError
from feature_assets.data.database import PASSWORD, DatabaseTable
from feature_assets.data.local_time import day_start, wall_time
from pipeline.home.postgres import CONNECT_SECONDS

if TYPE_CHECKING:
    from psycopg2 import Error
    from psycopg2.extensions import connection as Connection
    from psycopg2.sql import Composable

BATCH = 20_000
"""Rows that are in memory at a time."""
DATE, TIMESTAMP, INSTANT = 1082, 1114, 1184
"""Types of PostgreSQL by which a table can be read day by day."""
FORBIDDEN, UNDEFINED = "42501", "42703"
PASSES = ("08", "25P03", "40", "53", "57P")
"""Beginnings of the SQLSTATE of what can pass: the connection, a conflict, resources, a server that stops."""


class Source:
    """One database in one transaction that reads, as it was when the transaction began.

    Attributes:
        now: the server's time at its beginning.
    """

    def __init__(self, connection: Connection, database: DatabaseTable) -> None:
        self._connection = connection
        self._run("SET datestyle TO 'ISO, YMD'")
        self._run("SET timezone TO 'UTC'")
        self.now: datetime = self._run("SELECT now()")[0][0]
        self._place = database.place

    def columns(self, database: DatabaseTable, at: str) -> list[str]:
        """The columns that a table or a query has.

        Raises:
            DeliveryError: there is no such table, it may not be read, or the query is wrong.
        """
        from psycopg2.sql import SQL

        with told(database, at):
            if database.table is None:
                return self._shape(SQL("SELECT * FROM {} LIMIT 0").format(_relation(database)))[0]
            name = _relation(database).as_string(self._connection)
            if self._run("SELECT to_regclass(%s)", (name,)) == [(None,)]:
                schemas = "pg_catalog", "information_schema"
                known = self._run(
                    "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                    "WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND nspname NOT IN %s "
                    "AND has_schema_privilege(n.oid, 'USAGE') ORDER BY 1 LIMIT 1000",
                    (schemas,),
                )
                hint = nearest(database.table, [row[0] for row in known]) if known else "it has none that may be read"
                raise DeliveryError(f"{at}: {self._place} has no table {database.table!r}: {hint}")
            found = self._run(
                "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 "
                "AND NOT attisdropped ORDER BY attnum",
                (name,),
            )
            return [row[0] for row in found]

    def bounds(
        self, database: DatabaseTable, after: date | None, before: date, zones: tuple[str, str], at: str
    ) -> tuple[Any, Any] | None:
        """From which value of `since` on, and before which one, rows are read; None where all of them are.

        Args:
            after: local day from which on rows are read; None for all.
            before: local day that is no longer read.
            zones: of the days, and of times without an offset.

        Raises:
            DeliveryError: the column `since` is no day and no instant.
        """
        from psycopg2.sql import SQL, Identifier

        if database.since is None:
            return None
        query = SQL("SELECT {} FROM {} LIMIT 0").format(Identifier(database.since), _relation(database))
        with told(database, at):
            (dtype,) = self._shape(query)[1]
            if dtype not in (DATE, TIMESTAMP, INSTANT):
                (name,) = self._run("SELECT format_type(%s, NULL)", (dtype,))[0]
                raise DeliveryError(
                    f"{at}: {database.since} is of type {name}, and days are told by a date, a timestamp or a "
                    f"timestamptz: name another column, or write a query that casts it"
                )

        def end(day: date) -> date:
            if dtype == DATE:
                return day
            instant = day_start(day, zones[0])
            return instant if dtype == INSTANT else wall_time(instant, zones[1])

        return None if after is None else end(after), end(before)

    def rows(
        self, database: DatabaseTable, columns: Sequence[str], bounds: tuple[Any, Any] | None, at: str
    ) -> Iterator[list[tuple[str | None, ...]]]:
        """Rows in batches, every value as text, through a cursor of the server.

        Raises:
            DeliveryError: it may not be read, the query is wrong, or the server is lost.
        """
        from psycopg2.sql import SQL, Identifier

        shown = SQL(", ").join(SQL("{}::text").format(Identifier(column)) for column in columns)
        query: Composable = SQL("SELECT {} FROM {}").format(shown, _relation(database))
        if database.since is None or bounds is None:
            text, values = query.as_string(self._connection), None
        else:
            since = Identifier(database.since).as_string(self._connection)
            asked = query.as_string(self._connection) + f" WHERE {since} "
            text = asked.replace("%", "%%") + "< %(before)s"
            values = {"before": bounds[1]}
            if bounds[0] is not None:
                text += f" AND {since} ".replace("%", "%%") + ">= %(after)s"
                values["after"] = bounds[0]
        with told(database, at), self._connection.cursor(name="rows") as cursor:
            cursor.execute(text, values)
            while batch := cursor.fetchmany(BATCH):
                yield batch

    def without(self, database: DatabaseTable, at: str) -> int:
        """Rows that have no value of `since`, which no night reads."""
        from psycopg2.sql import SQL, Identifier

        query = SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(
            _relation(database), Identifier(str(database.since))
        )
        with told(database, at):
            return int(self._run(query)[0][0])

    def _run(self, query: str | Composable, values: tuple[object, ...] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def _shape(self, query: Composable) -> tuple[list[str], list[int]]:
        """Names and types of the columns that a query gives."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            described = cursor.description or ()
            return [column.name for column in described], [column.type_code for column in described]


@contextmanager
def reading(database: DatabaseTable, at: str) -> Iterator[Source]:
    """A source, for as long as one transaction lasts.

    Args:
        at: where the description names the database, for messages.

    Raises:
        DeliveryError: the driver is missing, the server refuses, or it does not answer, which can pass.
    """
    if find_spec("psycopg2") is None:
        raise DeliveryError(
            f"{at}: PostgreSQL needs the package psycopg2: "
            "`pip install --constraint constraints.txt --editable '.[postgres]'`"
        )
    import psycopg2
    from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ

    with told(database, at):
        connection = psycopg2.connect(database.url, connect_timeout=CONNECT_SECONDS, application_name="ple")
    try:
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        with told(database, at):
            source = Source(connection, database)
        yield source
    finally:
        connection.close()


def _relation(database: DatabaseTable) -> Composable:
    from psycopg2.sql import SQL, Identifier

    if database.table is not None:
        return Identifier(*database.table.split("."))
    return SQL("(" + str(database.query) + "\n) AS asked")


@contextmanager
def told(database: DatabaseTable, at: str) -> Iterator[None]:
    """Turn what the driver says into one line that says where and what to do. What can pass keeps its cause, by which
    `pipeline.faults` knows it.

    Raises:
        DeliveryError: in place of the driver's error.
    """
    from psycopg2 import Error, InterfaceError, OperationalError

    try:
        yield
    except Error as error:
        words = _refusal(database, error)
        if words:
            raise DeliveryError(f"{at}: {words}") from None
        lost = isinstance(error, InterfaceError) or (isinstance(error, OperationalError) and not error.pgcode)
        if lost or (error.pgcode or "").startswith(PASSES):
            words = f"{database.server} does not answer, or broke off: start it, or correct url"
            raise DeliveryError(f"{at}: {words}") from error
        raise DeliveryError(f"{at}: {database.place} says: {_said(error)}") from None


def _refusal(database: DatabaseTable, error: Error) -> str:
    """What a person has to set right, in words; empty where it is nothing known."""
    from psycopg2.extensions import parse_dsn

    user = parse_dsn(database.url).get("user", "this user")
    said = _said(error)
    if "no password supplied" in said or "password authentication failed" in said:
        return f"the password of {user} is missing or wrong: set {PASSWORD}"
    if "no pg_hba.conf entry" in said:
        return f"{database.server} lets {user} in from nowhere near here: add a line to its pg_hba.conf, or correct url"
    if "role " in said and "does not exist" in said:
        return f"{database.server} knows no user {user!r}: correct url"
    if "database " in said and "does not exist" in said:
        return f"{database.server} has no database {database.place.partition('/')[2]!r}: correct url"
    if error.pgcode == FORBIDDEN:
        what = database.table or "the tables of the query"
        rights = f"GRANT SELECT ON it, and USAGE ON its schema, TO {user}"
        return f"{user} may not read {what} ({_without_rights(said)}): {rights}"
    if error.pgcode == UNDEFINED:
        return f"{said}: correct the query"
    return ""


def _without_rights(said: str) -> str:
    """What the server refuses: the words of its message behind "permission denied", which are those of a file."""
    return said.partition("permission denied for ")[2] or said


def _said(error: Error) -> str:
    primary = error.diag.message_primary
    return " ".join((primary or str(error)).split())
