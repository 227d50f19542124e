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


def in_words(error: ValidationError) -> str:
    """What is wrong with settings, each fault as `place: what, not the value`."""
    return "; ".join(_fault(dict(fault)) for fault in error.errors(include_url=False, include_context=False))


def _fault(fault: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    what = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    shown = "" if fault["type"] in ("value_error", "missing") else f", not {str(given)[:60]!r}"
    return f"{place}: {what}{shown}" if place else f"{what}{shown}"


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
                    raise ValueError(f"unknown key {key!r} in {cls.__name__}: {nearest(str(key), cls.model_fields)}")
        return data
