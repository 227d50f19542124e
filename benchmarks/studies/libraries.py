"""Libraries that only studies need: the extra `[studies]`."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class PeerError(ValueError):
    """A peer that cannot be fitted here; the message says what to do."""


def library_of(module: str, package: str) -> Any:
    """A module of the extra `[studies]`. Raises PeerError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise PeerError(f"{package} is not installed: pip install -c constraints.txt -e '.[studies]'") from error
