"""What lies below the program and fails, in words: real errors where this machine can make them."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import requests
import sqlalchemy
from dagster._utils.error import serializable_error_info_from_exc_info

from pipeline import faults
from pipeline.resources.publication import PublicationError

FULL_DISK = Path("/dev/full")
"""A file of Linux that takes no byte."""


def a_full_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x BLOB)")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")


def a_read_only_database(folder: Path) -> None:
    sqlite3.connect(folder / "a.db").close()
    engine = sqlalchemy.create_engine(f"sqlite:///file:{folder}/a.db?mode=ro&uri=true")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (x INT)"))


def a_locked_database(folder: Path) -> None:
    with (
        closing(sqlite3.connect(folder / "a.db")) as first,
        closing(sqlite3.connect(folder / "a.db", timeout=0)) as two,
    ):
        first.execute("BEGIN EXCLUSIVE")
        two.execute("CREATE TABLE t (x INT)")


def a_damaged_database(folder: Path) -> None:
    (folder / "a.db").write_bytes(b"no database" * 100)
    with closing(sqlite3.connect(folder / "a.db")) as connection:
        connection.execute("CREATE TABLE t (x INT)")


def a_database_in_no_folder(folder: Path) -> None:
    sqlite3.connect(folder / "gone" / "a.db").close()


def raised_from(below: Exception) -> Callable[[Path], None]:
    def fail(_: Path) -> None:
        try:
            raise below
        except Exception as error:
            raise PublicationError("scores of 2018-01-01 cannot be read") from error

    return fail


def raises(error: BaseException) -> Callable[[Path], None]:
    def fail(_: Path) -> None:
        raise error

    return fail


REAL: dict[str, tuple[Callable[[Path], object], faults.Fault]] = {
    "a text": (lambda _: FULL_DISK.write_text("x"), faults.FULL),
    "a frame": (lambda _: pl.DataFrame({"x": [1]}).write_parquet(FULL_DISK), faults.FULL),
    "arrays": (lambda _: np.savez(FULL_DISK.open("wb"), x=np.arange(9_999)), faults.FULL),
    "a full database": (a_full_database, faults.FULL),
    "a read-only database": (a_read_only_database, faults.READ_ONLY),
    "a locked database": (a_locked_database, faults.LOCKED),
    "a damaged database": (a_damaged_database, faults.DAMAGED),
    "a database that cannot be opened": (a_database_in_no_folder, faults.FORBIDDEN),
    "a server that is not there": (lambda _: requests.get("http://127.0.0.1:9/api", timeout=5), faults.LOST),
    "below an error of ours": (raised_from(OSError(errno.EIO, "Input/output error")), faults.INPUT_OUTPUT),
    **{
        errno.errorcode[number]: (raises(OSError(number, os.strerror(number), "/srv/ple/x")), fault)
        for number, fault in {
            errno.ENOSPC: faults.FULL,
            errno.EDQUOT: faults.QUOTA,
            errno.EROFS: faults.READ_ONLY,
            errno.EACCES: faults.FORBIDDEN,
            errno.EPERM: faults.FORBIDDEN,
            errno.EIO: faults.INPUT_OUTPUT,
            errno.EMFILE: faults.TOO_MANY_FILES,
            errno.ETIMEDOUT: faults.LOST,
            errno.ECONNRESET: faults.LOST,
        }.items()
    },
    "a connection without a text": (raises(ConnectionResetError()), faults.LOST),
    "PostgreSQL goes down": (raises(RuntimeError("server closed the connection unexpectedly")), faults.LOST),
    "memory": (raises(MemoryError()), faults.MEMORY),
}
EVERY = (
    *(OSError, sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, pl.exceptions.PolarsError),
    *(PublicationError, RuntimeError, MemoryError),
)
PASS = (faults.INPUT_OUTPUT, faults.LOCKED, faults.LOST)


@pytest.mark.parametrize("kind", REAL)
def test_what_fails_below_is_told_in_one_line_with_what_to_do(kind: str, tmp_path: Path) -> None:
    fail, fault = REAL[kind]
    with pytest.raises(EVERY) as raised:
        fail(tmp_path)
    words = faults.in_words(raised.value)
    of_a_step = serializable_error_info_from_exc_info(raised._excinfo)  # type: ignore[arg-type]
    assert faults.in_words(of_a_step) == words, "a step's error is text only"
    assert faults.passes(raised.value) == (fault in PASS)
    assert words.endswith(f"{fault.what}. {fault.do} {faults.AGAIN}")
    assert len(words.splitlines()) == 1


def test_the_file_or_the_server_is_named() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/srv/it's/x")
    assert faults.in_words(full).startswith("/srv/it's/x: no space is left on the disk.")
    lost = RuntimeError("API request to http://127.0.0.1:9/api failed with exception Max retries exceeded with url: /x")
    assert faults.in_words(lost).startswith("127.0.0.1:9: the server does not answer.")
    lost = RuntimeError('connection to server at "db.example", port 5432 failed: Connection refused')
    assert faults.in_words(lost).startswith("db.example: the server does not answer.")
    with pytest.raises(PublicationError) as raised:
        raised_from(OSError(errno.EIO, "Input/output error"))(Path())
    assert faults.in_words(raised.value).startswith("scores of 2018-01-01 cannot be read: the disk reports")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("transactions: missing column amount"),
        ZeroDivisionError(),
        KeyError("errno"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"),
        RuntimeError("sum of 28 os errors"),
    ],
)
def test_an_error_of_inputs_or_of_the_program_speaks_for_itself(error: Exception) -> None:
    assert faults.in_words(error) == ""
    assert not faults.passes(error)


def test_no_address_with_a_password_is_shown() -> None:
    lost = RuntimeError("https://ple:secret@db.example/api: Max retries exceeded with url: /x")
    assert faults.in_words(lost).startswith("db.example: the server")
