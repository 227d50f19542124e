"""From when on a row, or a single value of it, is known: one declaration a contract table.

A local day is known after its end, an instant once it has passed: what an as-of date t may look at lies strictly before
the local midnight of t. `events/` applies these declarations, and nothing else compares a time with t.
Source: DATA §1, §2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Known:
    """When the content of a table is known.

    Attributes:
        row: the column that says when a row became known: an instant (`at`) or a local day. None for a catalogue, which
            has no time.
        columns: column → the column that says when its value came about. The value is null before that, however early
            the row was known.
    """

    row: str | None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_instant(self) -> bool:
        """Whether rows have an instant rather than a local day."""
        return self.row == "at"


KNOWN: dict[str, Known] = {
    "customers": Known("joined_on"),
    "transactions": Known("at"),
    "merchants": Known(None),
    "products": Known(None),
    "sessions": Known("at"),
    "campaigns": Known("starts_on", {"ends_on": "ends_on"}),
    "campaign_events": Known("at"),
    "holdings": Known("as_of", {"closed_on": "closed_on"}),
    "balances": Known("on"),
    "contacts": Known("at"),
}
"""Contract table → from when on its rows and columns are known."""

SERIES: dict[str, tuple[str, ...]] = {
    "holdings": ("product_kind", "opened_on"),
    "balances": ("account_id",),
}
"""Table of statements → what a customer's statements are about: those of one account (holding) follow each other,
oldest first. The events of any other table follow each other in time."""

DIMENSIONS = ("customers", "merchants", "products", "campaigns")
"""Tables of things. All others are tables of events: each row belongs to a customer and a time."""
