"""The named steps by which a home of an earlier release becomes one of today.

Steps may be run again after a kill, and find nothing to do in a new home. Source: docs/operating.md, "Upgrades".
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.home import home_format
from pipeline.home.folder import DAGSTER_YAML, Home
from pipeline.resources.files import discard, publish_bytes
from pipeline.resources.local_versions import LocalVersions
from pipeline.resources.publication import PublicationError, Published, tables

_FORMER_CONFIGURATIONS = (
    "2c16b64550a6001e",
    "560d5491433dbb15",
    "3b80b4f7446443aa",
    "78f43da71980b6cf",
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
    apply: Callable[[Home], bool]


def upgrade(home: Home) -> None:
    """Bring a prepared home to the format of today and note it. One process at a time does it, others wait."""
    with home.alone():
        before = home_format.read(home.root)
        for number in range(before, home_format.FORMAT):
            for step in STEPS[number]:
                if step.apply(home):
                    logging.getLogger(__name__).warning("%s is of an earlier release; now %s", home.root, step.what)
        if before != home_format.FORMAT:
            home_format.note(home.root)


def _configure_dagster(home: Home) -> bool:
    """Replace the configuration that an earlier release wrote, unless somebody edited it."""
    file = home.dagster / "dagster.yaml"
    if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest()[:16] not in _FORMER_CONFIGURATIONS:
        return False
    publish_bytes(DAGSTER_YAML.encode(), file)
    return True


def _publish_versions(home: Home) -> bool:
    """Publish anew what lies as a plain folder, so that its column `as_of` is in the path alone. What cannot be read
    stays as it is: its readers are told, and running its night again replaces it."""
    done = False
    for name in tables(home.lake) if home.lake_url is None else ():
        published = Published(home.lake, name)
        for day in published.dates():
            if LocalVersions(home.lake, name).pointer(day).is_symlink():
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
