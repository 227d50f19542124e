"""An S3-compatible server of the tests' own: moto's, on loopback; connections can be cut, listings lag."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

NEEDED = ("moto", "boto3", "s3fs", "flask_cors", "duckdb")
MISSING = ", ".join(name for name in NEEDED if importlib.util.find_spec(name) is None)
MISSING = f"not installed: {MISSING} (`pip install -e '.[dev]'`)" if MISSING else ""
"""Why no server can be started here; empty where one can."""
WAYS = ("before", "midway", "after")
"""When a connection is cut: before the request is read, within its body or its answer, after it took effect."""
ACCOUNT = "123456789012"
Application = Callable[[Mapping[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Faults:
    """What goes wrong between a client and the server.

    Attributes:
        application: that answers.
        cut: number of a request, counted from 1 since `begin` → how its connection is cut.
        away: requests from this one on are cut before they are read; None: none.
        requests: that have arrived since `begin`, as "METHOD path".
        listing: keys that every listing shows, whatever there is; None: those that there are.
    """

    application: Application
    cut: dict[int, str] = field(default_factory=dict)
    away: int | None = None
    requests: list[str] = field(default_factory=list)
    listing: list[str] | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, cut: Mapping[int, str] | None = None, away: int | None = None) -> None:
        """Count anew, with these faults."""
        with self._lock:
            self.cut, self.away, self.requests, self._numbers = dict(cut or {}), away, [], count(1)

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            number = next(self._numbers)
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            lost = self.away is not None and number >= self.away
            way = "before" if lost else self.cut.get(number)
        if way is None:
            return self._answer(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if way == "midway":
            if length:
                environ["wsgi.input"].read(length // 2)
            elif environ["REQUEST_METHOD"] == "GET":
                body = b"".join(self._answer(environ, start_response))
                environ["werkzeug.socket"].sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body) + 1, body[: len(body) // 2])
                )
        elif way == "after":
            b"".join(self._answer(environ, start_response))
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError("cut by the test")

    def _answer(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        if self.listing is None or environ["REQUEST_METHOD"] != "GET" or "list-type" not in query:
            return self.application(environ, start_response)
        prefix, end = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys = [key for key in self.listing if key.startswith(prefix)]
        below = {prefix + rest[0] + end for key in keys if end and len(rest := key[len(prefix) :].split(end, 1)) == 2}
        shown = [key for key in keys if not end or end not in key[len(prefix) :]]
        when = "<LastModified>2018-01-01T00:00:00.000Z</LastModified>"
        files = "".join(f"<Contents><Key>{escape(k)}</Key><Size>1</Size>{when}</Contents>" for k in shown)
        folders = "".join(f"<CommonPrefixes><Prefix>{escape(k)}</Prefix></CommonPrefixes>" for k in sorted(below))
        start_response("200 OK", [("Content-Type", "application/xml")])
        many = f"<KeyCount>{len(shown)}</KeyCount><IsTruncated>false</IsTruncated>"
        return [f"<?xml version='1.0'?><ListBucketResult>{many}{files}{folders}</ListBucketResult>".encode()]


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    faults: Faults

    @property
    def environment(self) -> dict[str, str]:
        """What a client finds it by; AWS_ALLOW_HTTP is for polars."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self, name: str) -> str:
        """A new bucket; its URL."""
        self._client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def _client(self) -> Any:
        import boto3

        kept = {"endpoint_url": self.environment["AWS_ENDPOINT_URL"], "region_name": "us-east-1"}
        secret = {"aws_access_key_id": "tests", "aws_secret_access_key": "secret-of-the-tests"}
        return boto3.client("s3", **kept, **secret)

    def keys(self, bucket: str) -> list[str]:
        """Keys of all objects in a bucket."""
        return sorted(self._objects(bucket))

    def overwrite(self, bucket: str, key: str, content: bytes) -> None:
        """Put other bytes in the place of an object."""
        self._client().put_object(Bucket=bucket, Key=key, Body=content)

    def _objects(self, bucket: str) -> Any:
        from moto.s3 import s3_backends

        return s3_backends[ACCOUNT]["aws"].buckets[bucket].keys


@contextmanager
def running() -> Iterator[Server]:
    """A server in a thread of this process; what is in it is in memory."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(server.server_port, faults)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


LIBRARIES = ("polars", "duckdb")
SCRIPT = Path(__file__).parent / "resources" / "reading_an_object_store.py"


class Readers:
    """A process of each library that reads the scores of a date over and over, while the block lasts.

    Attributes:
        told: library → what it saw (`reading_an_object_store.py`), once the block has ended.
    """

    def __init__(self, url: str, day: str, column: str, folder: Path) -> None:
        self.told: dict[str, dict[str, Any]] = {}
        self._stop = folder / "stop"
        self._rounds = {library: folder / f"rounds-{library}" for library in LIBRARIES}
        self._errors = {library: folder / f"errors-{library}" for library in LIBRARIES}  # a pipe of them would fill up
        self._command = [sys.executable, str(SCRIPT)]
        self._arguments = [url, day, column, str(self._stop)]

    def __enter__(self) -> Readers:
        environment = os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._processes = {}
        for library, rounds in self._rounds.items():
            command = [*self._command, library, *self._arguments, str(rounds)]
            with self._errors[library].open("w") as errors:
                self._processes[library] = subprocess.Popen(
                    command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
                )
        return self

    def a_round(self) -> None:
        """Wait until each has ended a round that it began after this call: the second one that ends."""
        before, deadline = self._ended(), time.monotonic() + 300
        while any(now < then + 2 for now, then in zip(self._ended(), before, strict=True)):
            assert all(process.poll() is None for process in self._processes.values()), "a reader ended"
            assert time.monotonic() < deadline, "a reader hangs"
            time.sleep(0.02)

    def _ended(self) -> list[int]:
        return [file.stat().st_size if file.exists() else 0 for file in self._rounds.values()]

    def __exit__(self, *_: object) -> None:
        self._stop.touch()
        for library, process in self._processes.items():
            printed = process.communicate(timeout=300)[0]
            assert process.returncode == 0, f"{library}: {self._errors[library].read_text()[-2000:]}"
            self.told[library] = json.loads(printed)
