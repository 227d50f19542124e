"""An object store below the URL of a lake: objects by name, each request tried again while the connection fails.

Objects appear whole or not at all: a small one by one PUT, a large one by an upload in parts that is completed last.
Nothing here trusts a listing; `listed` says only what one happens to show. The one module that knows fsspec.
Credentials and the endpoint are read from the environment by the client itself (`AWS_…`), never by this program.
"""

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

WAITS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt after the first, a quarter more or less."""
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 0}}}
}
"""Scheme → arguments of its file system: it waits no longer for a dead server, and leaves trying again to us."""
PATIENCE = 3
"""Requests in a row that may end without an answer, after all attempts, before a store counts as away: a step has so
many attempts. From then on each request is tried once, so that a night without its store ends in minutes."""
_unanswered: dict[str, int] = {}
"""URL → such requests of this process, since the last answer."""
_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
"""Classes of errors of the S3 client that mean what a PermissionError means."""
_LASTING = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Numbers of errors of this machine's disk, and of requests that the store does not understand: no attempt heals them.
An error that names a file is of the disk as well."""
_SMALL = 2**26
"""Bytes of a small object at most: it is read by one request for so many."""
_WRONG = object()
"""Where a missing object is an error."""


@dataclass(frozen=True)
class Seen:
    """What an object store tells of an object: bytes, and a tag of its content (empty where it has none)."""

    bytes: int
    tag: str


@dataclass(frozen=True)
class Remote:
    """The objects below a URL, each by its path.

    Every method raises ConnectionError where the store does not answer after all attempts, and PermissionError where it
    refuses the credentials.
    """

    url: str

    def read(self, path: str) -> bytes | None:
        """The content of a small object; None where there is none."""

        def get(files: Any, full: str) -> bytes:
            try:
                return bytes(files.cat_file(full, start=0, end=_SMALL))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                return bytes(files.cat_file(full))  # an empty object has no range

        return self._asked(path, get, missing=None)

    def write(self, path: str, content: bytes) -> None:
        """Put a small object in its place, by one request."""
        self._asked(path, lambda files, full: files.pipe_file(full, content))

    def upload(self, file: Path, path: str) -> Seen:
        """Put a file in its place, and look whether it arrived whole."""

        def put(files: Any, full: str) -> Seen:
            files.put_file(str(file), full)
            seen = _seen(files.info(full))
            if seen is None or seen.bytes != file.stat().st_size:
                raise ConnectionError(f"{full} did not arrive whole")
            return seen

        return self._asked(path, put)

    def download(self, path: str, file: Path) -> bool:
        """Write an object into a file; False where there is none."""

        def get(files: Any, full: str) -> bool:
            files.get_file(full, str(file))
            return True

        return bool(self._asked(path, get, missing=False))

    def look(self, path: str) -> Seen | None:
        """Size and tag of an object; None where there is none."""
        return self._asked(path, lambda files, full: _seen(files.info(full)), missing=None)

    def delete(self, path: str) -> None:
        """Delete an object, if it is there."""
        self._asked(path, lambda files, full: files.rm_file(full), missing=None)

    def listed(self, folder: str) -> list[str]:
        """Paths of the objects below a folder that a listing shows; it may lack some, or show some that are gone."""

        def find(files: Any, full: str) -> list[str]:
            root = files._strip_protocol(self.url)
            return [str(name)[len(root) :].lstrip("/") for name in files.find(full)]

        return list(self._asked(folder, find, missing=()))

    def _asked(self, path: str, request: Callable[[Any, str], Any], missing: Any = _WRONG) -> Any:
        """Do a request, again and again while the store does not answer. `missing`: what it gives where the object is
        not there."""
        address, away = f"{self.url}/{path}", _unanswered.get(self.url, 0) >= PATIENCE
        last = 0 if away else len(WAITS)
        for attempt in range(last + 1):
            try:
                files = _file_system(self.url.partition("://")[0], os.getpid())
                found = request(files, files._strip_protocol(address))
                _unanswered.pop(self.url, None)
                return found
            except FileNotFoundError as error:
                _unanswered.pop(self.url, None)
                if missing is not _WRONG:
                    return missing
                raise PermissionError(f"{address} cannot be written: there is no such bucket") from error
            except (ImportError, TypeError, ValueError, AttributeError):
                raise
            except Exception as error:
                if isinstance(error, OSError) and (error.filename or error.errno in _LASTING):
                    raise
                if isinstance(error, PermissionError) or type(error).__name__ in _CREDENTIALS:
                    words = f"{address}: the object store refuses the credentials in the environment (AWS_…)"
                    raise PermissionError(f"{words}: {getattr(error, 'strerror', None) or error}") from None
                if attempt == last:
                    _unanswered[self.url] = _unanswered.get(self.url, 0) + 1
                    said = "has not answered for long" if away else f"does not answer ({error})"
                    raise ConnectionError(f"{address}: the object store {said}") from error
                time.sleep(WAITS[attempt] * random.uniform(0.75, 1.25))
        raise AssertionError("unreachable")


def _seen(told: dict[str, Any]) -> Seen | None:
    """What a file system tells of a path; None of what it takes for a folder."""
    return Seen(int(told["size"]), str(told.get("ETag", "")).strip('"')) if told["type"] == "file" else None


@lru_cache(maxsize=4)
def _file_system(scheme: str, process: int) -> Any:  # noqa: ARG001 (a child of a fork needs a client of its own)
    """The client of a scheme. It keeps no listing. Raises ImportError, which names the extra, where it is missing."""
    import fsspec

    try:
        files = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **OPTIONS.get(scheme, {}))
    except ImportError as error:
        extra = "pip install 'ple-nightly[s3]'" if scheme in OPTIONS else str(error)
        raise ImportError(f"a lake under {scheme}:// needs a package that is not installed: {extra}") from error
    if hasattr(files, "retries"):
        files.retries = 1  # of s3fs: it would multiply the attempts
    return files
