"""The eight delivered tables of The Complete Journey: types, keys, ranges, references, and the tasks that need each.

Only declarations belong here; reading and mapping them belongs to `completejourney.py`. Source: DATA §1, §4.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from feature_assets.data.declaration import DAY, NUMBER, TEXT, WHOLE, Column, Reference, Rule, Table, by_name

LARGEST_VALUE = 1_000_000  # no line of a grocery basket has more units, millilitres or dollars


def _key(*names: str) -> list[Column]:
    return [Column(name, WHOLE, key=True) for name in names]


def _measure(name: str, dtype: pl.DataType = NUMBER) -> Column:
    return Column(name, dtype, least=0, most=LARGEST_VALUE)


def _facts(*names: str) -> list[Column]:
    return [Column(name, TEXT, nullable=True) for name in names]


_HOUSEHOLD = Reference(
    ("household_id",), "transactions", "unknown household (table transactions has no purchase of it)"
)
_CAMPAIGN = Reference(("campaign_id",), "campaign_descriptions", "unknown campaign")
_TARGETED = Reference(("household_id", "campaign_id"), "campaigns", "the household is not a target of this campaign")

DECLARED: dict[str, Table] = by_name(
    Table(
        "products",
        required=True,
        columns=(
            *_key("product_id"),
            Column("manufacturer_id", WHOLE, nullable=True),
            Column("department", TEXT),
            *_facts("product_category", "product_type"),
        ),
    ),
    Table(
        "transactions",
        required=True,
        instant="transaction_timestamp",
        columns=(
            *_key("household_id"),
            Column("store_id", WHOLE),
            *_key("basket_id", "product_id"),
            _measure("quantity", WHOLE),
            *(_measure(name) for name in ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")),
            Column("week", WHOLE, least=1, most=53),
            Column("transaction_timestamp", pl.Datetime("us")),
        ),
        references=(Reference(("product_id",), "products", "unknown product", keep_without="product_id"),),
    ),
    Table(
        "promotions",
        columns=(
            *_key("product_id", "store_id"),
            Column("week", WHOLE, key=True, least=1, most=53),
            Column("display_location", TEXT, key=True),
            Column("mailer_location", TEXT, key=True),
        ),
    ),
    Table(
        "demographics",
        columns=(
            *_key("household_id"),
            *_facts("age", "income", "home_ownership", "marital_status"),
            *_facts("household_size", "household_comp", "kids_count"),
        ),
        references=(_HOUSEHOLD,),
    ),
    Table(
        "campaign_descriptions",
        instant="start_date",
        may_precede=True,
        columns=(
            *_key("campaign_id"),
            Column("campaign_type", TEXT),
            Column("start_date", DAY),
            Column("end_date", DAY, open_ended=True),
        ),
        rules={
            "ends_after_start": Rule(pl.col("end_date") >= pl.col("start_date"), "end_date is before start_date"),
        },
    ),
    Table("campaigns", columns=(*_key("campaign_id", "household_id"),), references=(_CAMPAIGN, _HOUSEHOLD)),
    Table(
        "coupons",
        columns=(*_key("coupon_upc", "product_id", "campaign_id"),),
        references=(_CAMPAIGN, Reference(("product_id",), "products", "unknown product")),
    ),
    Table(
        "coupon_redemptions",
        instant="redemption_date",
        columns=(*_key("household_id", "coupon_upc", "campaign_id"), Column("redemption_date", DAY, key=True)),
        references=(replace(_CAMPAIGN, since="start_date"), _HOUSEHOLD, _TARGETED),
    ),
)
"""Delivered table → its declaration, in the order of their references."""

NEEDED_BY: dict[str, tuple[str, ...]] = {
    "promotions": ("channel",),
    "campaign_descriptions": ("ctr", "cvr"),
    "campaigns": ("ctr", "cvr"),
    "coupons": ("ctr",),
    "coupon_redemptions": ("cvr",),
}
"""Optional delivered table → the tasks that have no honest label without it."""
