"""The format of a bundle, a number in its manifest `model.json`. No torch: it is read before anything is loaded."""

from typing import Any

FORMAT = 2
"""What is written and read now. 1: until the trees of a blend, epochs by task and two fits came into the bundle."""


class BundleError(ValueError):
    """A folder that is no bundle, was altered, or contradicts itself; the message names the file and the remedy."""


def refusal(found: Any) -> str:
    """Why a bundle of a format cannot be read, with what to do; empty where it can."""
    if found == FORMAT:
        return ""
    if is_newer(found):
        return f"a newer release wrote it (bundle format {found}, this one reads {FORMAT}): use that release"
    return f"an earlier release wrote it (bundle format {found}, this one reads {FORMAT}): train a new version"


def is_newer(found: Any) -> bool:
    """Whether a newer release wrote a bundle of this format."""
    return isinstance(found, int) and found > FORMAT
