"""Names and keys that differ only in form: blanks around them, upper and lower case, the form of their Unicode.

Two of them are never taken for the same; a message says that they look alike.
"""

from __future__ import annotations

import unicodedata


def folded(name: str) -> str:
    """The name without blanks around it, in one case and one Unicode form, `-` and blanks inside as `_`."""
    return "_".join(unicodedata.normalize("NFKC", name).strip().casefold().replace("-", " ").split())
