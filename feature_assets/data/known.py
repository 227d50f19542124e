"""From when on a row, or a single value of it, is known, as the contract declares it.

A local day is known after its end, an instant once it has passed: what an as-of date t may look at lies strictly before
the local midnight of t. `events/` applies these declarations, and nothing else compares a time with t.
Source: DATA §1, §2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from feature_assets.data.contract import CONTRACT


@dataclass(frozen=True)
class Known:
    """The times from which the content of a table is known.

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


_LATER: dict[str, dict[str, str]] = {
    "campaigns": {"ends_on": "ends_on"},
    "holdings": {"closed_on": "closed_on"},
}

KNOWN: dict[str, Known] = {name: Known(table.instant, _LATER.get(name, {})) for name, table in CONTRACT.items()}
"""Contract table → from when on its rows and columns are known."""

SERIES: dict[str, tuple[str, ...]] = {name: table.series for name, table in CONTRACT.items() if table.series}
"""Table of statements → the columns that, with the customer, name a series: the statements of one account (holding)
follow each other, oldest first. The events of any other table follow each other in time."""

DIMENSIONS = tuple(name for name, table in CONTRACT.items() if not table.of_customers)
"""Tables of things. All others are tables of events: each row belongs to a customer and a time."""
