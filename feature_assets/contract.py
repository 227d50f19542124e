"""The contract: which tables exist, what each column must be, and how a bad row is set aside.

A table is declared once (`Declared`: a dataframely schema, its references, the column that holds its time), contract
tables and the delivered tables of a source alike. Applying a declaration to rows belongs to `quarantine.py`, mapping
delivered tables to contract tables to `sources/`.
Source: DATA §1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dataframely as dy
import polars as pl

from feature_assets.coercion import DeliveryError

__all__ = ["CONTRACT", "Declared", "DeliveryError", "ReasonCount", "Reference", "Validated", "conform"]

CHANNELS = ("mailer", "display", "shelf")
CAMPAIGN_EVENTS = ("impression", "click", "conversion")


def _instant(*, key: bool = False) -> dy.Datetime:
    return dy.Datetime(time_unit="us", time_zone="UTC", primary_key=key)


class Customers(dy.Schema):
    customer_id = dy.String(primary_key=True)
    joined_on = dy.Date(nullable=False)


class Transactions(dy.Schema):
    transaction_id = dy.String(primary_key=True)
    basket_id = dy.String(nullable=False)
    customer_id = dy.String(nullable=False)
    at = _instant()
    amount = dy.Float64(nullable=False)
    discount = dy.Float64(nullable=False)
    quantity = dy.Int64(nullable=True)
    merchant_id = dy.String(nullable=False)
    product_id = dy.String(nullable=True)
    channel = dy.String(nullable=True, check={"known": lambda c: c.is_in(CHANNELS)})
    kind = dy.String(nullable=False)


class Products(dy.Schema):
    product_id = dy.String(primary_key=True)
    category_l1 = dy.String(nullable=False)
    category_l2 = dy.String(nullable=True)
    category_l3 = dy.String(nullable=True)
    brand = dy.String(nullable=True)


class Campaigns(dy.Schema):
    campaign_id = dy.String(primary_key=True)
    kind = dy.String(nullable=False)
    starts_on = dy.Date(nullable=False)
    ends_on = dy.Date(nullable=False)


class CampaignEvents(dy.Schema):
    customer_id = dy.String(primary_key=True)
    campaign_id = dy.String(primary_key=True)
    at = _instant(key=True)
    event = dy.String(primary_key=True, check={"known": lambda c: c.is_in(CAMPAIGN_EVENTS)})


CONTRACT: dict[str, type[dy.Schema]] = {
    "customers": Customers,
    "transactions": Transactions,
    "products": Products,
    "campaigns": Campaigns,
    "campaign_events": CampaignEvents,
}
"""Contract table → schema. A customers frame may hold further String columns: static facts of the data set."""


@dataclass(frozen=True)
class Reference:
    """Rows of a table point at rows of another by `columns` (the same names there).

    Attributes:
        reason: what to call a row that points at nothing.
        keep_without: keep such a row without this column instead of dropping it; the good rows then carry a Boolean
            column `<column>__unknown`.
    """

    columns: tuple[str, ...]
    table: str
    reason: str
    keep_without: str | None = None


@dataclass(frozen=True)
class Declared:
    """The declaration of one delivered table.

    Attributes:
        schema: types, nullability, ranges and key (`primary_key`; the whole row where it has no other key).
        required: whether a delivery without it is refused.
        references: what its rows point at.
        instant: the column that says when a row happened (naive UTC Datetime, or a local Date), if any: it must lie in
            the days that the data set covers.
        may_precede: whether rows may have happened before the first covered day.
        reasons: custom rule of the schema → reason in words.
    """

    name: str
    schema: type[dy.Schema]
    required: bool = False
    references: tuple[Reference, ...] = ()
    instant: str | None = None
    may_precede: bool = False
    reasons: Mapping[str, str] | None = None

    @property
    def types(self) -> dict[str, pl.DataType]:
        """Column → declared type."""
        return {name: column.dtype for name, column in self.schema.columns().items()}


@dataclass(frozen=True)
class ReasonCount:
    """How many rows of a table were set aside for one reason, and the first of them."""

    reason: str
    action: str
    rows: int
    first: str


@dataclass(frozen=True)
class Validated:
    """One table after validation.

    Attributes:
        good: rows that go on, in delivered order, in declared types.
        quarantine: table, key, reason, action, row (JSON of the row as delivered); one record a row and reason.
        counts: one entry a reason, most rows first.
        delivered: rows delivered.
        dropped: rows that do not go on (collapsed copies and kept rows are not among them).
        limit_share: share of dropped rows in [0, 1] above which the night must stop.
    """

    table: str
    good: pl.DataFrame
    quarantine: pl.DataFrame
    counts: tuple[ReasonCount, ...]
    delivered: int
    dropped: int
    limit_share: float

    @property
    def dropped_share(self) -> float:
        """Dropped rows over delivered rows, in [0, 1]."""
        return self.dropped / self.delivered if self.delivered else 0.0

    @property
    def over_limit(self) -> bool:
        """Whether more rows were dropped than the table's limit allows."""
        return self.dropped_share > self.limit_share


def conform(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The contract table `name` in declared column order, checked against its schema.

    Raises:
        dataframely.exc.ValidationError, dataframely.exc.SchemaError: the reader that made the frame broke the contract.
    """
    schema = CONTRACT[name]
    static = [c for c in frame.columns if name == "customers" and c not in schema.columns()]
    schema.validate(frame)
    return frame.select(*schema.columns(), *static)


MEANINGS: dict[str, dict[str, str]] = {
    "customers": {
        "": "who can be scored, from the day of the first event on.",
        "customer_id": "customer",
        "joined_on": "local day of the first event",
    },
    "transactions": {
        "": "what was bought, one row a line of a basket.",
        "transaction_id": "line",
        "basket_id": "lines of one purchase share it",
        "customer_id": "customer",
        "at": "instant in UTC",
        "amount": "paid, in the data set's currency",
        "discount": "taken off before that, ≥ 0",
        "quantity": "pieces; null where goods are measured by weight or volume",
        "merchant_id": "shop",
        "product_id": "product; null where the delivery names one that it does not describe",
        "channel": "what drew attention to the product there and then: mailer, display, or the shelf alone",
        "kind": "purchase, refund ...",
    },
    "products": {
        "": "what can be bought.",
        "product_id": "product",
        "category_l1": "department",
        "category_l2": "category in the department",
        "category_l3": "type in the category",
        "brand": "maker; null for private labels and unbranded goods",
    },
    "campaigns": {
        "": "what was run when.",
        "campaign_id": "campaign",
        "kind": "kind of campaign",
        "starts_on": "first local day",
        "ends_on": "last local day",
    },
    "campaign_events": {
        "": "who saw, clicked and converted.",
        "customer_id": "customer",
        "campaign_id": "campaign",
        "at": "instant in UTC",
        "event": "impression, click (where a data set has none: its stated proxy) or conversion",
    },
}
"""Contract table → column → meaning, for people; "" is the table itself."""
