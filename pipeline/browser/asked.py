"""What the addresses of the browser may ask for: an unknown key or a wrong value is refused, with what is allowed."""

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from feature_assets.closed import Closed, in_words
from pipeline.training.row_groups import Segment

MOST_ROWS = 500
"""Rows of a page of a list."""
Choice = Literal["yes", "no"] | None


class NotAllowed(ValueError):
    """An address that asks for what is not allowed, in words."""


class Nothing(Closed):
    """Of the start: a date, or none for the newest one."""

    as_of: date | None = None


class OneAsked(Nothing):
    """One customer. `id` is text: zeros in front count. `reasons`: compute what moved the predictions."""

    id: Annotated[str, Field(max_length=200)]
    reasons: Choice = None


class ListAsked(Nothing):
    """A list: the task, who is on it, the order, and which page of how many rows."""

    task: str
    who: Literal["eligible", "all"] = "eligible"
    order: str | None = None
    direction: Literal["highest", "lowest"] = "highest"
    segment: Segment | None = None
    cluster: Annotated[int, Field(ge=0, lt=1_000)] | None = None
    uncertainty: Annotated[float, Field(ge=0, le=1)] | None = None
    fallback: Choice = None
    rows: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 50
    page: Annotated[int, Field(ge=1, le=10_000_000)] = 1

    def address(self, **changes: Any) -> dict[str, str]:
        """The keys of the address of this list with some changes; what is not given or is the default is left out."""
        values = self.model_copy(update=changes).model_dump(mode="json", exclude_defaults=True)
        return {key: str(value) for key, value in values.items()}


A = TypeVar("A", bound=Closed)


def asked(form: type[A], given: Iterable[tuple[str, str]], keep_empty: tuple[str, ...] = ("id",)) -> A:
    """What an address asks for. A field that a form leaves empty is not given.

    Raises:
        NotAllowed: an unknown key, a key twice, or a wrong value.
    """
    values: dict[str, str] = {}
    for key, value in given:
        if key in values:
            raise NotAllowed(f"{key} stands twice in the address")
        if value or key in keep_empty or key not in form.model_fields:
            values[key] = value
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise NotAllowed(in_words(error)) from None
