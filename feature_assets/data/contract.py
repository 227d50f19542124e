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

from feature_assets.data.coercion import DeliveryError

__all__ = ["CONTRACT", "Declared", "DeliveryError", "ReasonCount", "Reference", "Validated", "conform"]

INFLOWS = ("salary", "benefit", "deposit", "transfer_in", "interest", "claim")
"""Kinds of transactions that bring money in (amount ≥ 0)."""
OUTFLOWS = ("withdrawal", "transfer_out", "fee", "premium", "repayment", "investment")
"""Kinds that take money out and buy nothing at a merchant (amount ≥ 0)."""
SPEND = ("purchase", "refund")
"""Kinds at a merchant; a refund's amount is ≤ 0, so that the sum over both is net spend."""
KINDS = (*SPEND, *INFLOWS, *OUTFLOWS)
CAMPAIGN_EVENTS = ("targeted", "impression", "click", "conversion")
SESSION_EVENTS = ("visit", "search", "support", "login")
CONTACT_KINDS = ("consultation", "complaint", "branch", "call")
BALANCE_KINDS = ("current", "savings", "credit_card", "investment", "points", "loan")
PRODUCT_FAMILIES: dict[str, str] = {
    "savings": "deposit",
    "term_deposit": "deposit",
    "fund": "investment",
    "stocks": "investment",
    "bonds": "investment",
    "pension": "investment",
    "credit_card": "credit",
    "personal_loan": "credit",
    "mortgage": "credit",
    "life": "insurance",
    "home": "insurance",
    "car": "insurance",
    "health": "insurance",
    "travel": "insurance",
    "points": "membership",
}
"""Product kind that a customer can hold → family. Of an insurance the balance is the insured sum, of points their
number."""


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
    merchant_id = dy.String(nullable=True)
    product_id = dy.String(nullable=True)
    channel = dy.String(nullable=True)
    kind = dy.String(nullable=False, check={"known": lambda c: c.is_in(KINDS)})

    @dy.rule()
    def at_a_merchant(cls) -> pl.Expr:
        """What is bought is bought somewhere."""
        return pl.col("merchant_id").is_not_null() | ~pl.col("kind").is_in(SPEND)


class Merchants(dy.Schema):
    merchant_id = dy.String(primary_key=True)
    category_l1 = dy.String(nullable=False)
    category_l2 = dy.String(nullable=False)
    category_l3 = dy.String(nullable=True)
    brand = dy.String(nullable=True)
    region_l1 = dy.String(nullable=True)


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


class Sessions(dy.Schema):
    customer_id = dy.String(nullable=False)
    at = _instant()
    channel = dy.String(nullable=False)
    event = dy.String(nullable=False, check={"known": lambda c: c.is_in(SESSION_EVENTS)})


class Holdings(dy.Schema):
    customer_id = dy.String(primary_key=True)
    product_kind = dy.String(primary_key=True, check={"known": lambda c: c.is_in(list(PRODUCT_FAMILIES))})
    opened_on = dy.Date(primary_key=True)
    as_of = dy.Date(primary_key=True)
    closed_on = dy.Date(nullable=True)
    balance = dy.Float64(nullable=True)
    limit = dy.Float64(nullable=True)

    @dy.rule()
    def stated_when_known(cls) -> pl.Expr:
        """A row cannot state what had not happened on its day."""
        as_of = pl.col("as_of")
        return (pl.col("opened_on") <= as_of) & (pl.col("closed_on") <= as_of).fill_null(True)


class Balances(dy.Schema):
    customer_id = dy.String(primary_key=True)
    account_id = dy.String(primary_key=True)
    on = dy.Date(primary_key=True)
    balance = dy.Float64(nullable=False)
    limit = dy.Float64(nullable=True)
    kind = dy.String(nullable=False, check={"known": lambda c: c.is_in(BALANCE_KINDS)})


class Contacts(dy.Schema):
    customer_id = dy.String(nullable=False)
    at = _instant()
    kind = dy.String(nullable=False, check={"known": lambda c: c.is_in(CONTACT_KINDS)})
    topic = dy.String(nullable=True)


CONTRACT: dict[str, type[dy.Schema]] = {
    "customers": Customers,
    "transactions": Transactions,
    "merchants": Merchants,
    "products": Products,
    "sessions": Sessions,
    "campaigns": Campaigns,
    "campaign_events": CampaignEvents,
    "holdings": Holdings,
    "balances": Balances,
    "contacts": Contacts,
}
"""Contract table → schema. A customers frame may hold further String columns: static facts of the data set."""

OPTIONAL: dict[str, dict[str, type[pl.DataType]]] = {
    "customers": {
        "birth_year": pl.Int32,
        "gender": pl.String,
        "region_l1": pl.String,
        "region_l2": pl.String,
        "segment": pl.String,
    },
    "transactions": {"is_overseas": pl.Boolean, "currency": pl.String},
    "sessions": {"seconds": pl.Float64, "pages": pl.Int32, "campaign_id": pl.String},
    "campaign_events": {"is_control": pl.Boolean},
}
"""Contract table → column that a data set may have or not → type; all nullable."""


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
        schema: types, nullability, ranges and key (`primary_key`; a table without one is a plain list of events, of
            which exact copies collapse).
        required: whether a delivery without it is refused.
        references: what its rows point at.
        instant: the column that says when a row happened (naive UTC Datetime, or a local Date), if any: it must lie in
            the days that the data set covers.
        may_precede: whether rows may have happened before the first covered day.
        reasons: custom rule of the schema → reason in words.
        soft: column with ranges, or custom rule → the column whose value is taken out of a row that breaks it, so that
            the rest of the row is kept.
    """

    name: str
    schema: type[dy.Schema]
    required: bool = False
    references: tuple[Reference, ...] = ()
    instant: str | None = None
    may_precede: bool = False
    reasons: Mapping[str, str] | None = None
    soft: Mapping[str, str] | None = None

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
    """The contract table `name` in declared column order, checked against its schema: required columns, then the
    optional ones that the frame has, then (customers) further static columns.

    Raises:
        dataframely.exc.ValidationError, dataframely.exc.SchemaError: the reader that made the frame broke the contract.
        TypeError: an optional column has another type.
    """
    schema = CONTRACT[name]
    optional = {column: dtype for column, dtype in OPTIONAL.get(name, {}).items() if column in frame.columns}
    static = [c for c in frame.columns if name == "customers" and c not in schema.columns() and c not in optional]
    schema.validate(frame)
    wrong = {c: str(frame[c].dtype) for c, dtype in optional.items() if frame[c].dtype != dtype}
    if wrong:
        raise TypeError(f"contract table {name}: {wrong}, expected { ({c: optional[c].__name__ for c in wrong}) }")
    return frame.select(*schema.columns(), *optional, *static)


MEANINGS: dict[str, dict[str, str]] = {
    "customers": {
        "": "who can be scored, from the day of the first event on.",
        "customer_id": "customer",
        "joined_on": "local day of the first event",
        "birth_year": "year of birth",
        "gender": "as the customer states it",
        "region_l1": "region of residence",
        "region_l2": "district of the region",
        "segment": "customer, or anonymous: a visitor without an identity",
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
        "channel": "how it was bought; where the data set has no such thing, what drew attention to the product",
        "kind": "purchase, refund (amount ≤ 0), salary, deposit, withdrawal, transfer ...",
        "is_overseas": "whether the merchant lies abroad",
        "currency": "currency of the purchase",
    },
    "merchants": {
        "": "where things are bought.",
        "merchant_id": "merchant",
        "category_l1": "line of business",
        "category_l2": "category in the line",
        "category_l3": "type in the category",
        "brand": "chain; null for independent merchants",
        "region_l1": "region",
    },
    "products": {
        "": "what can be bought.",
        "product_id": "product",
        "category_l1": "department",
        "category_l2": "category in the department",
        "category_l3": "type in the category",
        "brand": "maker; null for private labels and unbranded goods",
    },
    "sessions": {
        "": "visits to the web site and the app.",
        "customer_id": "customer",
        "at": "instant in UTC",
        "channel": "web, app ...",
        "event": "visit, search, support or login",
        "seconds": "time spent",
        "pages": "pages seen",
        "campaign_id": "campaign that led there",
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
        "event": "targeted, impression, click (where a data set has none: its stated proxy) or conversion",
        "is_control": "targeted, and withheld at random for comparison",
    },
    "holdings": {
        "": "which products a customer holds, as stated on a day.",
        "customer_id": "customer",
        "product_kind": "kind of product",
        "opened_on": "first day",
        "as_of": "day on which the row was stated; known from the day after on",
        "closed_on": "last day, once it is closed",
        "balance": "balance, insured sum or points",
        "limit": "credit limit",
    },
    "balances": {
        "": "end-of-day statements of accounts.",
        "customer_id": "customer",
        "account_id": "account",
        "on": "day of the statement; known from the day after on",
        "balance": "balance; of a credit account what is owed, ≥ 0",
        "limit": "credit limit; null unless a credit account",
        "kind": "kind of account",
    },
    "contacts": {
        "": "when a customer talked to the company.",
        "customer_id": "customer",
        "at": "instant in UTC",
        "kind": "consultation, complaint, branch or call",
        "topic": "what it was about",
    },
}
"""Contract table → column → meaning, for people; "" is the table itself."""
