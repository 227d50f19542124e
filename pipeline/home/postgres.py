"""PostgreSQL below Dagster or MLflow: addresses without a password, faults in words, and whose database it is.

The password is never here: libpq takes it from PGPASSWORD, or from the file that PGPASSFILE names. A database belongs
to one home and one use, which a table of one row says (`ple_home`): two homes would fail each other's runs as dead, and
Dagster and MLflow both have a table `runs`.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from feature_assets.data.database import PASSWORD

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

Use = Literal["Dagster", "MLflow"]
SETTINGS: dict[Use, str] = {"Dagster": "dagster_storage", "MLflow": "mlflow_uri"}
"""Use of a database → the setting that names it."""
PACKAGES: dict[Use, str] = {"Dagster": "dagster_postgres", "MLflow": "psycopg2"}
"""Use of a database → the package that it needs."""
TABLES: dict[Use, str] = {"Dagster": "event_logs", "MLflow": "registered_models"}
"""Use of a database → a table that only this use has."""
SCHEMES = ("postgresql", "postgresql+psycopg2")
OWN = "ple_home"
"""The table that says whose the database is."""
FILE = "databases.json"
"""In the home: its id, and for each use the identity of its database."""
CONNECT_SECONDS = 10


class DatabaseError(ValueError):
    """A database of a deployment that cannot be used; says why and what to do."""


class Owner(NamedTuple):
    """The row of `ple_home`: id and folder of the home, use of the database, and whether its tables were made whole."""

    id: str
    home: str
    used_by: Use
    ready: bool


def is_postgres(uri: str | None) -> bool:
    """Whether an address names a PostgreSQL database."""
    return (uri or "").partition("://")[0].partition("+")[0] == "postgresql"


def normal(uri: str) -> str:
    """An address with the driver that Dagster's storage needs; SQLAlchemy's own default is another one.

    Raises:
        ValueError: it is no address, holds a password, or names no database or a driver that is not installed.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):  # its message would repeat the address, with what it holds
        raise ValueError("no address of the form postgresql://user@host:5432/database") from None
    if url.password is not None or any("password" in key for key in url.query):
        raise ValueError(f"a password does not belong in an address; give it in the environment: {PASSWORD}")
    if url.drivername not in SCHEMES:
        raise ValueError(f"{url.drivername}: write postgresql://user@host:5432/database")
    if not url.database:
        raise ValueError(f"{uri!r} names no database; write postgresql://user@host:5432/database")
    return url.set(drivername=SCHEMES[-1]).render_as_string()


def database_of(uri: str) -> tuple[object, ...]:
    """What two addresses of one database share."""
    from sqlalchemy import make_url

    url = make_url(uri)
    host = url.host or url.query.get("host") or ""
    return host, url.port or 5432, url.database, url.query.get("options")


def engine(uri: str) -> Engine:
    """The database at an address; an attempt to connect ends after seconds, and no connection is kept."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    return create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})


@contextmanager
def connected(uri: str, use: Use) -> Iterator[Connection]:
    """One transaction.

    Raises:
        DatabaseError: the package is missing, or the server refuses or does not answer.
    """
    from sqlalchemy.exc import DBAPIError

    if find_spec(PACKAGES[use]) is None:
        raise DatabaseError(
            f"{SETTINGS[use]}: PostgreSQL needs the package {PACKAGES[use]}: "
            "`pip install --constraint constraints.txt --editable '.[postgres]'`"
        )
    try:
        with engine(uri).connect() as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise DatabaseError(f"{SETTINGS[use]}: {in_words(uri, str(error.orig))}") from None


def in_words(uri: str, said: str) -> str:
    """What the driver said about a connection, and what to do."""
    from sqlalchemy import make_url

    url = make_url(uri)
    said = " ".join(said.split())
    if "no password supplied" in said or "password authentication failed" in said:
        return f"the password of {url.username or 'the user'} is missing or wrong: set {PASSWORD}"
    if "role" in said and "does not exist" in said:
        return f"PostgreSQL knows no user {url.username!r}: `createuser {url.username}`, or correct the setting"
    if "database" in said and "does not exist" in said:
        return f"there is no database {url.database!r}: `createdb --owner {url.username} {url.database}`"
    if "permission denied" in said:
        return f"{url.username} may not create tables in {url.database}: make it the owner of the database ({said})"
    if any(part in said for part in ("Connection refused", "could not translate", "timeout", "No such file")):
        place = f"{url.host or 'the local socket'}:{url.port or 5432}"
        return f"no server answers at {place}: start it, or correct the setting"
    return said


def prepare(uri: str, use: Use, home: Path, create: Callable[[], None]) -> None:
    """Make a database the home's own. Tables that a killed preparation left half are dropped and made anew: no run and
    no version was ever in them.

    Args:
        create: makes all tables of the use; called where they are not whole.

    Raises:
        DatabaseError: as `connected`; or the database is another home's, or of another use, or not empty.
    """
    with connected(uri, use) as connection:
        owner = _claim(connection, use, home)
        if not owner.ready:
            _drop_all(connection)
    if not owner.ready:
        logging.getLogger(__name__).info("making the tables of %s", use)
        create()
        with connected(uri, use) as connection:
            connection.exec_driver_sql(f"UPDATE {OWN} SET ready = true")


def facts(uri: str, use: Use) -> str:
    """Version of the server, name and size of the database, for people."""
    with connected(uri, use) as connection:
        version, name, size = connection.exec_driver_sql(
            "SELECT current_setting('server_version'), current_database(), "
            "pg_size_pretty(pg_database_size(current_database()))"
        ).one()
    return f"PostgreSQL {version.split()[0]}, {name}, {size}"


def _claim(connection: Connection, use: Use, home: Path) -> Owner:
    """The owner of the database, who is this home afterwards."""
    identity, mine = _identity(connection), _noted(home)
    name = identity.partition(" ")[0]
    owner = _owner(connection)
    if owner is None:
        _refuse_strange(_tables(connection), use, name)
        owner = Owner(mine.get("id") or str(uuid.uuid4()), str(home), use, TABLES[use] in _tables(connection))
        connection.exec_driver_sql(
            f"CREATE TABLE {OWN} (one integer PRIMARY KEY CHECK (one = 1), id text NOT NULL, home text NOT NULL, "
            "used_by text NOT NULL, ready boolean NOT NULL)"
        )
        connection.exec_driver_sql(f"INSERT INTO {OWN} VALUES (1, %s, %s, %s, %s)", tuple(owner))
    elif owner.used_by != use:
        raise DatabaseError(f"{SETTINGS[use]}: {name} is the database of {owner.used_by}: {use} needs one of its own")
    elif owner.id != mine.get("id"):
        raise DatabaseError(
            f"{SETTINGS[use]}: {name} is the database of the home {owner.home}: name another one. If that home is this "
            f"one, restored without its file {FILE}, restore that file too"
        )
    elif owner.home != str(home):
        original = _noted(Path(owner.home))
        if original.get("id") == owner.id and original.get(use) == identity:
            raise DatabaseError(
                f"{SETTINGS[use]}: {name} is the database of the home {owner.home}, of which this home is a copy: give "
                "the copy one of its own (`createdb --template`, or pg_dump and pg_restore)"
            )
        connection.exec_driver_sql(f"UPDATE {OWN} SET home = %s", (str(home),))
    if mine != (noted := mine | {"id": owner.id, use: identity}):
        beside = home / f".part-{FILE}"
        beside.write_text(json.dumps(noted))
        beside.rename(home / FILE)
    return owner


def _refuse_strange(tables: set[str], use: Use, name: str) -> None:
    if tables and TABLES[use] not in tables:
        other = next((each for each in TABLES if TABLES[each] in tables), None)
        whose = f"has the tables of {other}" if other else f"has tables already ({', '.join(sorted(tables)[:3])})"
        raise DatabaseError(f"{SETTINGS[use]}: {name} {whose}: {use} needs an empty database of its own")


def _identity(connection: Connection) -> str:
    """Name, number and cluster of a database: its copy has another number, or lies in another cluster."""
    return " ".join(
        str(part)
        for part in connection.exec_driver_sql(
            "SELECT datname, oid, (SELECT system_identifier FROM pg_control_system()) "
            "FROM pg_database WHERE datname = current_database()"
        ).one()
    )


def _owner(connection: Connection) -> Owner | None:
    if OWN not in _tables(connection):
        return None
    return Owner(*connection.exec_driver_sql(f"SELECT id, home, used_by, ready FROM {OWN}").one())


def _tables(connection: Connection) -> set[str]:
    from sqlalchemy import inspect

    return set(inspect(connection).get_table_names())


def _drop_all(connection: Connection) -> None:
    from sqlalchemy import MetaData

    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != OWN)
    found.drop_all(connection)


def _noted(home: Path) -> dict[str, str]:
    """The home's id and the identities of its databases; empty where it has none."""
    try:
        noted: dict[str, str] = json.loads((home / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return noted
