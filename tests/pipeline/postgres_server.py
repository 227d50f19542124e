"""A PostgreSQL server of the tests' own, from Debian's package, on loopback, with passwords."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.sql

USER, PASSWORD = "ple", "s3cret-of-the-tests"
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
OTHER = next((entry for entry in pwd.getpwall() if entry.pw_name == "postgres"), None)
MISSING = (
    "no PostgreSQL: `apt-get install postgresql`"
    if not BINARIES
    else "PostgreSQL refuses root, and there is no user postgres"
    if os.getuid() == 0 and OTHER is None
    else ""
)
"""Why no server can be started here; empty where one can."""


MEMORY = Path("/dev/shm")
"""A database is hundreds of files, and nothing of it is kept: in memory they are copied and deleted at once."""


@dataclass(frozen=True)
class Server:
    """A running server. Its user `ple` may do everything, with `PASSWORD`."""

    port: int

    def uri(self, database: str) -> str:
        """The address of a database, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def run(self, command: str, database: str = "postgres", **names: str) -> list[tuple[object, ...]]:
        """Run one statement, with identifiers in braces; its rows."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                identifiers = {name: psycopg2.sql.Identifier(value) for name, value in names.items()}
                cursor.execute(psycopg2.sql.SQL(command).format(**identifiers))
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def database(self, template: str = "template0") -> str:
        """The address of a new database, empty or a copy."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        self.run("CREATE DATABASE {name} TEMPLATE {template}", name=name, template=template)
        return self.uri(name)


@contextmanager
def running() -> Iterator[Server]:
    """A server in a folder of its own; both are gone afterwards."""
    account = {} if os.getuid() else {"user": OTHER.pw_uid, "group": OTHER.pw_gid, "extra_groups": []}  # type: ignore[union-attr]
    folder = Path(tempfile.mkdtemp(prefix="ple-postgres-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        for path in (folder, secret):
            if account:
                os.chown(path, account["user"], account["group"])
        binaries, data, log = BINARIES[-1].parent, folder / "data", folder / "log"
        initdb = [binaries / "initdb", "-D", data, "-U", USER, "--pwfile", secret, "--auth", "scram-sha-256"]
        initdb += ["--encoding", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **account)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
        command = [binaries / "postgres", "-D", data, *(f"--{key}={value}" for key, value in options.items())]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd="/", stdout=output, stderr=output, **account)
        try:
            server = Server(port)
            _await(server, process, log)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: the data is not needed any more
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            server.run("SELECT 1")
        except psycopg2.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
