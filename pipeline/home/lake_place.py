"""Where the published tables of a home lie: in the home itself, or under the URL of an object store.

A home notes the URL once (`lake/elsewhere.json`) and keeps to it: whoever looks into its lake finds the same tables,
whatever the environment says. Source: docs/decisions/0020-object-store.md.
"""

import json
import re
from pathlib import Path

from ple_model.serving.files import publish

FILE = "elsewhere.json"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._-]+(/[A-Za-z0-9._=-]+)*")
NO_OBJECT_STORES = (
    *("file", "local", "http", "https", "ftp", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs", "nfs"),
    *("git", "github", "zip", "tar", "data", "dbfs", "dropbox", "gdrive", "webdav", "cached", "dir", "reference"),
)
"""Kinds of file systems of which an upload does not appear whole, or that cannot be written."""


def checked(url: str) -> str:
    """The URL of a lake, without a slash behind it.

    Raises:
        ValueError: it is none, holds credentials, or is of a kind on which nothing is published all or nothing.
    """
    if "@" in url or "?" in url:
        raise ValueError("credentials do not belong in the URL of a lake; give them in the environment (AWS_…)")
    url, scheme = url.rstrip("/"), url.partition("://")[0]
    if _URL.fullmatch(url) is None or ".." in url.split("/"):
        raise ValueError(f"{url!r} is no URL of a lake, such as s3://bucket/prefix")
    if scheme in NO_OBJECT_STORES:
        raise ValueError(f"{scheme}:// is no object store, whose objects appear whole; such as s3://bucket/prefix")
    from fsspec import available_protocols

    if scheme not in available_protocols():
        raise ValueError(f"{scheme}:// is of no kind that is known here; such as s3://bucket/prefix")
    return url


def url_of(lake: Path) -> str | None:
    """The URL under which the tables of a lake lie; None where they lie in its folder.

    Raises:
        ValueError: the note is damaged.
    """
    file = lake / FILE
    try:
        found = json.loads(file.read_bytes())["url"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        raise ValueError(f'{file} is damaged; write {{"url": "…"}} into it, with the URL of the lake')
    return found


def refusal(lake: Path, url: str | None) -> str:
    """Why the tables of a lake cannot lie under a URL (None: in its folder), with what to do; empty where they can."""
    try:
        noted = url_of(lake)
    except ValueError as error:
        return str(error)
    if noted == url:
        return ""
    if noted is not None:
        return f"its published tables lie under {noted}: set PLE_LAKE={noted}, or name another home (PLE_HOME)"
    if (lake / "published").exists():
        return f"its published tables lie on its own disk: a lake under {url} needs a new home (PLE_HOME)"
    return ""


def note(lake: Path, url: str) -> None:
    """Note that the tables of a lake lie under a URL."""
    if url_of(lake) != url:
        lake.mkdir(parents=True, exist_ok=True)
        publish(lake / FILE, json.dumps({"url": url}).encode())
