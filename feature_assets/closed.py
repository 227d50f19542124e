"""Typed and closed settings: an unknown key is an error that names the nearest known one.

Here belong the base class of every settings object of feature_assets, and its errors in words. No setting itself
belongs here.
Source: STYLE, "Settings are typed and closed".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint that names the known key closest to `key`, or lists all of them when none is close."""
    names = list(known)
    lower = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(key.casefold(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[close[0]]!r}?" if close else f"known keys: {', '.join(names)}"


class Misplaced(ValueError):
    """A wrong value deeper in what a validator was given.

    Attributes:
        place: keys from there to the value.
    """

    def __init__(self, what: str, *place: str) -> None:
        super().__init__(what)
        self.place = place


def in_words(error: ValidationError) -> str:
    """What is wrong with settings, each fault as `place: what, not the value`."""
    return "; ".join(words for _, words in faults(error))


def faults(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Keys to each wrong value, and what is wrong as `place: what, not the value`."""
    return [_fault(dict(fault)) for fault in error.errors(include_url=False)]


def _fault(fault: dict[str, Any]) -> tuple[tuple[str | int, ...], str]:
    raised = fault.get("ctx", {}).get("error")
    keys = (*fault["loc"], *(raised.place if isinstance(raised, Misplaced) else ()))
    place = ".".join(str(part) for part in keys)
    what = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    shown = "" if fault["type"] in ("value_error", "missing") else f", not {str(given)[:60]!r}"
    return keys, f"{place}: {what}{shown}" if place else f"{what}{shown}"


class Closed(BaseModel):
    """A frozen settings object that refuses unknown keys.

    Raises:
        ValueError: (as pydantic's ValidationError) an unknown key, with the nearest known one; or a wrong value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = nearest(str(key), cls.model_fields)
                    raise Misplaced(f"unknown key {key!r}: {hint}", str(key))
        return data
