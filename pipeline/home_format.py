"""The format of a home: a number in the home, and the named steps by which an older home becomes one of today.

A home without the number was made before there was one: format 1. Steps may be run again after a kill, and find nothing
to do in a new home. The format of a registered version is its own (`ple_model.serving.format`).
Source: docs/decisions/0026-upgrade-and-erasure.md.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ple_model.serving.files import publish

if TYPE_CHECKING:
    from pipeline.home import Home

FORMAT = 2
"""What this program writes. 1: until tables were published as versions and runs that hang were ended."""
FILE = "format.json"
_FORMER_CONFIGURATIONS = (
    "2c16b64550a6001e",
    "560d5491433dbb15",
    "3b80b4f7446443aa",
)
"""Beginnings of the SHA-256 of `dagster.yaml` as earlier releases wrote it."""


@dataclass(frozen=True)
class Step:
    """One change of an older home.

    Attributes:
        what: it makes true, in words.
        apply: does it; whether there was anything to do. May be called again after a kill.
    """

    what: str
    apply: Callable[["Home"], bool]


def read(root: Path) -> int:
    """The format of the home in a folder: 1 where none is noted.

    Raises:
        ValueError: the note is no number of a format.
    """
    file = root / FILE
    try:
        found = json.loads(file.read_bytes())["format"]
    except (FileNotFoundError, NotADirectoryError):
        return 1
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, int) or found < 1:
        raise ValueError(f'{file} is damaged; if {root} is a home of this release write {{"format": {FORMAT}}} into it')
    return found


def refusal(root: Path) -> str:
    """Why this program must not touch the home in a folder, with what to do; empty where it may."""
    try:
        found = read(root)
    except ValueError as error:
        return str(error)
    if found > FORMAT:
        return (
            f"a newer release made it (format {found}, this one knows {FORMAT}): use that release, or another PLE_HOME"
        )
    return ""


def upgrade(home: "Home") -> None:
    """Bring a home to the format of today and note it, step by step. One process at a time."""
    before = read(home.root)
    for number in range(before, FORMAT):
        for step in STEPS[number]:
            if step.apply(home):
                logging.getLogger(__name__).warning("%s is of an earlier release: %s", home.root, step.what)
    if before != FORMAT or not (home.root / FILE).exists():
        publish(home.root / FILE, json.dumps({"format": FORMAT}).encode())


def _configure_dagster(home: "Home") -> bool:
    """Replace the configuration that an earlier release wrote, unless somebody edited it."""
    from pipeline.home import DAGSTER_YAML

    file = home.dagster / "dagster.yaml"
    if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest()[:16] not in _FORMER_CONFIGURATIONS:
        return False
    publish(file, DAGSTER_YAML.encode())
    return True


def _publish_versions(home: "Home") -> bool:
    """Publish anew what lies as a plain folder, so that its column `as_of` is in the path alone. What cannot be read
    stays as it is: its readers are told, and running its night again replaces it."""
    from pipeline.resources.files import discard
    from pipeline.resources.publication import PublicationError, Published, tables

    done = False
    for name in tables(home.lake):
        published = Published(home.lake, name)
        for day in published.dates():
            if published.pointer(day).is_symlink():
                continue
            try:
                file = published.publish(published.read(day), day)
            except PublicationError as error:
                logging.getLogger(__name__).warning("%s", error)
                continue
            for left in file.parents[2].glob(".*.old"):
                discard(left)
            done = True
    return done


STEPS: Mapping[int, tuple[Step, ...]] = {
    1: (
        Step("dagster.yaml ends runs that hang", _configure_dagster),
        Step("published tables are versions behind a link", _publish_versions),
    ),
}
"""Format → the steps that lead to the next one."""
