"""The ten delivered tables of the bank simulation: types, keys, ranges, references.

They have the contract's names and columns, with instants in UTC. A column that may be missing in a row may also be
absent from a delivery. Only declarations belong here; reading and mapping the tables belongs to `reader.py`.
Source: DATA §1, §4.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

from feature_assets.data.contract import (
    BALANCE_KINDS,
    CAMPAIGN_EVENTS,
    CONTACT_KINDS,
    KINDS,
    PRODUCT_FAMILIES,
    SESSION_EVENTS,
    SPEND,
    Declared,
    Reference,
)

LARGEST_AMOUNT = 100_000_000  # no account, contract or payment of a private customer is larger
LARGEST_COUNT = 1_000_000
LONGEST_SESSION = 86_400.0  # seconds
SEGMENTS = ("customer", "anonymous")
CHANNELS = ("pos", "online", "app")


class DeliveredCustomers(dy.Schema):
    customer_id = dy.String(primary_key=True)
    joined_on = dy.Date(nullable=False)
    birth_year = dy.Int64(nullable=True, min=1900, max=2030)
    gender = dy.String(nullable=True)
    region_l1 = dy.String(nullable=True)
    region_l2 = dy.String(nullable=True)
    segment = dy.String(nullable=True)

    @dy.rule()
    def known_segment(cls) -> pl.Expr:
        return pl.col("segment").is_in(SEGMENTS)


class DeliveredTransactions(dy.Schema):
    transaction_id = dy.String(primary_key=True)
    basket_id = dy.String(nullable=False)
    customer_id = dy.String(nullable=False)
    at = dy.Datetime(nullable=False, time_unit="us")
    amount = dy.Float64(nullable=False, min=-LARGEST_AMOUNT, max=LARGEST_AMOUNT)
    discount = dy.Float64(nullable=False, min=0, max=LARGEST_AMOUNT)
    quantity = dy.Int64(nullable=True, min=0, max=LARGEST_COUNT)
    merchant_id = dy.String(nullable=True)
    product_id = dy.String(nullable=True)
    channel = dy.String(nullable=True)
    kind = dy.String(nullable=False)
    is_overseas = dy.Bool(nullable=True)
    currency = dy.String(nullable=True)

    @dy.rule()
    def known_kind(cls) -> pl.Expr:
        return pl.col("kind").is_in(KINDS)

    @dy.rule()
    def known_channel(cls) -> pl.Expr:
        return pl.col("channel").is_in(CHANNELS) | ~pl.col("kind").is_in(SPEND)

    @dy.rule()
    def sign(cls) -> pl.Expr:
        amount = pl.col("amount")
        return pl.when(pl.col("kind") == "refund").then(amount <= 0).otherwise(amount >= 0)

    @dy.rule()
    def at_a_merchant(cls) -> pl.Expr:
        return pl.col("merchant_id").is_not_null() | ~pl.col("kind").is_in(SPEND)

    @dy.rule()
    def at_no_merchant(cls) -> pl.Expr:
        return pl.col("merchant_id").is_null() | pl.col("kind").is_in(SPEND)


class DeliveredMerchants(dy.Schema):
    merchant_id = dy.String(primary_key=True)
    category_l1 = dy.String(nullable=False)
    category_l2 = dy.String(nullable=False)
    category_l3 = dy.String(nullable=True)
    brand = dy.String(nullable=True)
    region_l1 = dy.String(nullable=True)


class DeliveredProducts(dy.Schema):
    product_id = dy.String(primary_key=True)
    category_l1 = dy.String(nullable=False)
    category_l2 = dy.String(nullable=True)
    category_l3 = dy.String(nullable=True)
    brand = dy.String(nullable=True)


class DeliveredCampaigns(dy.Schema):
    campaign_id = dy.String(primary_key=True)
    kind = dy.String(nullable=False)
    starts_on = dy.Date(nullable=False)
    ends_on = dy.Date(nullable=False)

    @dy.rule()
    def ends_after_start(cls) -> pl.Expr:
        return pl.col("ends_on") >= pl.col("starts_on")


class DeliveredCampaignEvents(dy.Schema):
    customer_id = dy.String(primary_key=True)
    campaign_id = dy.String(primary_key=True)
    at = dy.Datetime(primary_key=True, time_unit="us")
    event = dy.String(primary_key=True)
    is_control = dy.Bool(nullable=True)

    @dy.rule()
    def known_event(cls) -> pl.Expr:
        return pl.col("event").is_in(CAMPAIGN_EVENTS)


class DeliveredSessions(dy.Schema):
    customer_id = dy.String(nullable=False)
    at = dy.Datetime(nullable=False, time_unit="us")
    channel = dy.String(nullable=False)
    event = dy.String(nullable=False)
    seconds = dy.Float64(nullable=True, min=0, max=LONGEST_SESSION)
    pages = dy.Int64(nullable=True, min=0, max=LARGEST_COUNT)
    campaign_id = dy.String(nullable=True)

    @dy.rule()
    def known_event(cls) -> pl.Expr:
        return pl.col("event").is_in(SESSION_EVENTS)


class DeliveredHoldings(dy.Schema):
    customer_id = dy.String(primary_key=True)
    product_kind = dy.String(primary_key=True)
    opened_on = dy.Date(primary_key=True)
    as_of = dy.Date(primary_key=True)
    closed_on = dy.Date(nullable=True)
    balance = dy.Float64(nullable=True, min=-LARGEST_AMOUNT, max=LARGEST_AMOUNT)
    limit = dy.Float64(nullable=True, min=0, max=LARGEST_AMOUNT)

    @dy.rule()
    def known_kind(cls) -> pl.Expr:
        return pl.col("product_kind").is_in(list(PRODUCT_FAMILIES))

    @dy.rule()
    def stated_when_known(cls) -> pl.Expr:
        as_of = pl.col("as_of")
        return (pl.col("opened_on") <= as_of) & (pl.col("closed_on") <= as_of).fill_null(True)

    @dy.rule()
    def closes_after_opening(cls) -> pl.Expr:
        return pl.col("closed_on") >= pl.col("opened_on")


class DeliveredBalances(dy.Schema):
    customer_id = dy.String(primary_key=True)
    account_id = dy.String(primary_key=True)
    on = dy.Date(primary_key=True)
    balance = dy.Float64(nullable=False, min=-LARGEST_AMOUNT, max=LARGEST_AMOUNT)
    limit = dy.Float64(nullable=True, min=0, max=LARGEST_AMOUNT)
    kind = dy.String(nullable=False)

    @dy.rule()
    def known_kind(cls) -> pl.Expr:
        return pl.col("kind").is_in(BALANCE_KINDS)


class DeliveredContacts(dy.Schema):
    customer_id = dy.String(nullable=False)
    at = dy.Datetime(nullable=False, time_unit="us")
    kind = dy.String(nullable=False)
    topic = dy.String(nullable=True)

    @dy.rule()
    def known_kind(cls) -> pl.Expr:
        return pl.col("kind").is_in(CONTACT_KINDS)


def _among(column: str, values: tuple[str, ...]) -> str:
    return f"{column} is none of {', '.join(values)}"


_CUSTOMER = Reference(("customer_id",), "customers", "unknown customer")
_CAMPAIGN = Reference(("campaign_id",), "campaigns", "unknown campaign")

DECLARED: dict[str, Declared] = {
    declared.name: declared
    for declared in (  # in the order of their references
        Declared(
            "customers",
            DeliveredCustomers,
            required=True,
            instant="joined_on",
            may_precede=True,
            reasons={"known_segment": _among("segment", SEGMENTS)},
            soft={"known_segment": "segment", "birth_year": "birth_year"},
        ),
        Declared("merchants", DeliveredMerchants),
        Declared("products", DeliveredProducts),
        Declared(
            "transactions",
            DeliveredTransactions,
            required=True,
            instant="at",
            references=(
                _CUSTOMER,
                Reference(("merchant_id",), "merchants", "unknown merchant", keep_without="category"),
                Reference(("product_id",), "products", "unknown product", keep_without="product_id"),
            ),
            reasons={
                "known_kind": _among("kind", KINDS),
                "known_channel": _among("channel of a purchase", CHANNELS),
                "sign": "amount is below 0, or above 0 in a refund",
                "at_a_merchant": "merchant_id is missing in a purchase or refund",
                "at_no_merchant": "merchant_id stands in what is neither purchase nor refund",
            },
            soft={"known_channel": "channel", "quantity": "quantity", "at_no_merchant": "merchant_id"},
        ),
        Declared(
            "campaigns",
            DeliveredCampaigns,
            instant="starts_on",
            may_precede=True,
            reasons={"ends_after_start": "ends_on is before starts_on"},
        ),
        Declared(
            "campaign_events",
            DeliveredCampaignEvents,
            instant="at",
            references=(_CUSTOMER, _CAMPAIGN),
            reasons={"known_event": _among("event", CAMPAIGN_EVENTS)},
        ),
        Declared(
            "sessions",
            DeliveredSessions,
            instant="at",
            references=(
                _CUSTOMER,
                Reference(("campaign_id",), "campaigns", "unknown campaign", keep_without="campaign_id"),
            ),
            reasons={"known_event": _among("event", SESSION_EVENTS)},
            soft={"seconds": "seconds", "pages": "pages"},
        ),
        Declared(
            "holdings",
            DeliveredHoldings,
            instant="as_of",
            may_precede=True,
            references=(_CUSTOMER,),
            reasons={
                "known_kind": _among("product_kind", tuple(PRODUCT_FAMILIES)),
                "stated_when_known": "as_of is before opened_on or closed_on",
                "closes_after_opening": "closed_on is before opened_on",
            },
        ),
        Declared(
            "balances",
            DeliveredBalances,
            instant="on",
            may_precede=True,
            references=(_CUSTOMER,),
            reasons={"known_kind": _among("kind", BALANCE_KINDS)},
        ),
        Declared(
            "contacts",
            DeliveredContacts,
            instant="at",
            references=(_CUSTOMER,),
            reasons={"known_kind": _among("kind", CONTACT_KINDS)},
        ),
    )
}
