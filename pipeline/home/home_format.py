"""The format of a home: a number in the home. A home without one was made before there was any: format 1.

The steps from an older format to that of today belong to `upgrade.py`; the format of a registered version is its own
(`ple_model.serving.format`).
"""

import json
from pathlib import Path

from ple_model.serving.files import publish

FORMAT = 2
"""What this program writes. 1: until tables were published as versions and runs that hang were ended."""
FILE = "format.json"


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


def note(root: Path) -> None:
    """Note that the home in a folder is of the format of today."""
    publish(root / FILE, json.dumps({"format": FORMAT}).encode())
