"""Files that are either whole or absent, and digests of their content. No torch: callers import this early."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end of the block it is flushed to disk and renamed.

    A reader sees the old file or the new one, never a part. A block that raises leaves the old file as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        flush(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush(path.parent)


def publish(path: Path, data: bytes) -> None:
    """Write a file as a whole, by `publishing`."""
    with publishing(path) as beside:
        beside.write_bytes(data)


def flush(path: Path) -> None:
    """To disk: the content of a file, or the names in a folder (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_json(value: Any) -> str:
    """Hexadecimal SHA-256 of `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
