"""The base of every settings class: typed, frozen, closed.

An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


def nearest(name: str, known: Iterable[str]) -> str:
    """Text that names the closest of `known` to `name`, or lists all of them when none is close."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


class ClosedModel(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(
                        f"unknown setting {key!r} of {cls.__name__}; {nearest(str(key), cls.model_fields)}"
                    )
        return data

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Settings from `to_dict` of the same class. Raises pydantic's ValidationError (a ValueError)."""
        return cls.model_validate(data)
