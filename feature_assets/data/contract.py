"""The contract: the tables that a data set consists of, each declared once.

Validation of deliveries, the check of contract tables and the meanings in the UI derive from these records.
The kinds of record belong to `declaration.py`, mapping a source's own tables to the contract to `sources/`.
Source: DATA §1.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from feature_assets.data.declaration import (
    DAY,
    FLAG,
    INSTANT,
    NUMBER,
    TEXT,
    WHOLE,
    Column,
    Reference,
    Rule,
    Table,
    by_name,
)

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


SEGMENTS = ("customer", "anonymous")
LARGEST_AMOUNT = 100_000_000  # no account, contract or payment of a private customer is larger
LARGEST_COUNT = 1_000_000
LONGEST_SESSION = 86_400.0  # seconds

_CUSTOMER = Reference(("customer_id",), "customers", "unknown customer")
_CAMPAIGN = Reference(("campaign_id",), "campaigns", "unknown campaign")


def _amount(name: str, meaning: str, least: float = -LARGEST_AMOUNT, nullable: bool = False) -> Column:
    """A column of money."""
    return Column(name, NUMBER, meaning, nullable=nullable, least=least, most=LARGEST_AMOUNT)


def _count(name: str, dtype: pl.DataType, meaning: str, nullable: bool = False, optional: bool = False) -> Column:
    return Column(name, dtype, meaning, nullable=nullable, optional=optional, least=0, most=LARGEST_COUNT, soft=True)


def _at(key: bool = False) -> Column:
    return Column("at", INSTANT, "instant in UTC", key=key)


def _spend() -> pl.Expr:
    return pl.col("kind").is_in(SPEND)


CONTRACT: dict[str, Table] = by_name(
    Table(
        "customers",
        meaning="customers, from the day of their first event on.",
        required=True,
        static=True,
        instant="joined_on",
        may_precede=True,
        columns=(
            Column("customer_id", TEXT, "customer", key=True),
            Column("joined_on", DAY, "local day of the first event", told_by_events=True),
            Column("birth_year", pl.Int32(), "year of birth", optional=True, least=1900, most=2030, soft=True),
            Column("gender", TEXT, "as the customer states it", optional=True),
            Column("region_l1", TEXT, "region of residence", optional=True),
            Column("region_l2", TEXT, "district of the region", optional=True),
            Column(
                "segment",
                TEXT,
                "customer, or anonymous: a visitor without an identity",
                optional=True,
                among=SEGMENTS,
                soft=True,
            ),
        ),
    ),
    Table(
        "merchants",
        meaning="shops.",
        columns=(
            Column("merchant_id", TEXT, "merchant", key=True),
            Column("category_l1", TEXT, "line of business"),
            Column("category_l2", TEXT, "category in the line"),
            Column("category_l3", TEXT, "type in the category", nullable=True),
            Column("brand", TEXT, "chain; null for independent merchants", nullable=True),
            Column("region_l1", TEXT, "region", nullable=True),
        ),
    ),
    Table(
        "products",
        meaning="products that can be bought.",
        columns=(
            Column("product_id", TEXT, "product", key=True),
            Column("category_l1", TEXT, "department"),
            Column("category_l2", TEXT, "category in the department", nullable=True),
            Column("category_l3", TEXT, "type in the category", nullable=True),
            Column("brand", TEXT, "maker; null for private labels and unbranded goods", nullable=True),
        ),
    ),
    Table(
        "transactions",
        meaning="lines of baskets, and money that came in or went out.",
        required=True,
        instant="at",
        order=("customer_id", "at", "transaction_id"),
        columns=(
            Column("transaction_id", TEXT, "line", key=True),
            Column("basket_id", TEXT, "lines of one purchase share it"),
            Column("customer_id", TEXT, "customer"),
            _at(),
            _amount("amount", "paid, in the data set's currency"),
            _amount("discount", "taken off before that, ≥ 0", least=0),
            _count("quantity", WHOLE, "pieces; null where goods are weighed", nullable=True),
            Column("merchant_id", TEXT, "shop", nullable=True),
            Column("product_id", TEXT, "product; null where the delivery does not describe it", nullable=True),
            Column("channel", TEXT, "how it was bought, or what drew attention to the product", nullable=True),
            Column("kind", TEXT, "purchase, refund (amount ≤ 0), salary, deposit, withdrawal ...", among=KINDS),
            Column("is_overseas", FLAG, "whether the merchant lies abroad", optional=True),
            Column("currency", TEXT, "currency of the purchase", optional=True),
        ),
        references=(
            _CUSTOMER,
            Reference(("merchant_id",), "merchants", "unknown merchant", keep_without="category"),
            Reference(("product_id",), "products", "unknown product", keep_without="product_id"),
        ),
        rules={
            "sign": Rule(
                pl.when(pl.col("kind") == "refund").then(pl.col("amount") <= 0).otherwise(pl.col("amount") >= 0),
                "amount is below 0, or above 0 in a refund",
            ),
            "at_a_merchant": Rule(
                pl.col("merchant_id").is_not_null() | ~_spend(), "merchant_id is missing in a purchase or refund"
            ),
            "at_no_merchant": Rule(
                pl.col("merchant_id").is_null() | _spend(),
                "merchant_id stands in what is neither purchase nor refund",
                without="merchant_id",
            ),
        },
    ),
    Table(
        "campaigns",
        meaning="campaigns and their days.",
        instant="starts_on",
        may_precede=True,
        columns=(
            Column("campaign_id", TEXT, "campaign", key=True),
            Column("kind", TEXT, "kind of campaign"),
            Column("starts_on", DAY, "first local day"),
            Column("ends_on", DAY, "last local day", known_from="ends_on", open_ended=True),
        ),
        rules={"ends_after_start": Rule(pl.col("ends_on") >= pl.col("starts_on"), "ends_on is before starts_on")},
    ),
    Table(
        "campaign_events",
        meaning="targets, impressions, clicks and conversions of campaigns.",
        instant="at",
        order=("customer_id", "at", "campaign_id", "event"),
        columns=(
            Column("customer_id", TEXT, "customer", key=True),
            Column("campaign_id", TEXT, "campaign", key=True),
            _at(key=True),
            Column(
                "event",
                TEXT,
                "targeted, impression, click (where a data set has none: its stated proxy) or conversion",
                key=True,
                among=CAMPAIGN_EVENTS,
            ),
            Column("is_control", FLAG, "targeted, and withheld at random for comparison", optional=True),
        ),
        references=(_CUSTOMER, replace(_CAMPAIGN, since="starts_on", at_any_time=pl.col("event") == "targeted")),
        own=pl.col("event").is_in(["click", "conversion"]),
    ),
    Table(
        "sessions",
        meaning="visits to the web site and the app.",
        instant="at",
        order=("customer_id", "at", "channel", "event"),
        columns=(
            Column("customer_id", TEXT, "customer"),
            _at(),
            Column("channel", TEXT, "web, app ..."),
            Column("event", TEXT, "visit, search, support or login", among=SESSION_EVENTS),
            Column("seconds", NUMBER, "time spent", optional=True, least=0, most=LONGEST_SESSION, soft=True),
            _count("pages", pl.Int32(), "pages seen", optional=True),
            Column("campaign_id", TEXT, "campaign that led to the visit", optional=True),
        ),
        references=(
            _CUSTOMER,
            replace(_CAMPAIGN, since="starts_on", keep_without="campaign_id"),
        ),
    ),
    Table(
        "holdings",
        meaning="products that a customer holds, as stated on a day.",
        instant="as_of",
        may_precede=True,
        order=("customer_id", "as_of", "product_kind", "opened_on"),
        series=("product_kind", "opened_on"),
        columns=(
            Column("customer_id", TEXT, "customer", key=True),
            Column("product_kind", TEXT, "kind of product", key=True, among=tuple(PRODUCT_FAMILIES)),
            Column("opened_on", DAY, "first day", key=True),
            Column("as_of", DAY, "day on which the row was stated; known from the day after on", key=True),
            Column("closed_on", DAY, "last day, once it is closed", nullable=True, known_from="closed_on"),
            _amount("balance", "balance, insured sum or points", nullable=True),
            _amount("limit", "credit limit", least=0, nullable=True),
        ),
        references=(_CUSTOMER,),
        rules={
            "stated_when_known": Rule(  # a row cannot state what happens after its day
                (pl.col("opened_on") <= pl.col("as_of")) & (pl.col("closed_on") <= pl.col("as_of")).fill_null(True),
                "as_of is before opened_on or closed_on",
            ),
            "closes_after_opening": Rule(pl.col("closed_on") >= pl.col("opened_on"), "closed_on is before opened_on"),
        },
    ),
    Table(
        "balances",
        meaning="end-of-day statements of accounts.",
        instant="on",
        may_precede=True,
        order=("customer_id", "on", "account_id"),
        series=("account_id",),
        columns=(
            Column("customer_id", TEXT, "customer", key=True),
            Column("account_id", TEXT, "account", key=True),
            Column("on", DAY, "day of the statement; known from the day after on", key=True),
            _amount("balance", "balance; of a credit account what is owed, ≥ 0"),
            _amount("limit", "credit limit; null unless a credit account", least=0, nullable=True),
            Column("kind", TEXT, "kind of account", among=BALANCE_KINDS),
        ),
        references=(_CUSTOMER,),
    ),
    Table(
        "contacts",
        meaning="contacts of a customer with the company.",
        instant="at",
        order=("customer_id", "at", "kind"),
        columns=(
            Column("customer_id", TEXT, "customer"),
            _at(),
            Column("kind", TEXT, "consultation, complaint, branch or call", among=CONTACT_KINDS),
            Column("topic", TEXT, "topic", nullable=True),
        ),
        references=(_CUSTOMER,),
    ),
)
"""Contract table → its declaration, in the order of their references."""


def conform(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The contract table `name` in declared column order, checked against its declaration: required columns, the
    optional ones that the frame has, then (customers) further static columns.

    Raises:
        dataframely.exc.ValidationError, dataframely.exc.SchemaError: the reader that made the frame broke the contract.
    """
    table = CONTRACT[name].only(frame.schema)
    table.schema.validate(frame)
    declared = list(table.types)
    return frame.select(*declared, *(c for c in frame.columns if table.static and c not in declared))
