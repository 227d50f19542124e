"""The eight delivered tables of The Complete Journey: types, keys, ranges, references, and what depends on each.

Only declarations belong here; reading and mapping them belongs to `completejourney.py`. Source: DATA §1, §4.
"""

from __future__ import annotations

import dataframely as dy
import polars as pl

from feature_assets.data.contract import Declared, Reference

LARGEST_VALUE = 1_000_000  # no line of a grocery basket has more units, millilitres or dollars


class DeliveredTransactions(dy.Schema):
    household_id = dy.Int64(primary_key=True)
    store_id = dy.Int64(nullable=False)
    basket_id = dy.Int64(primary_key=True)
    product_id = dy.Int64(primary_key=True)
    quantity = dy.Int64(nullable=False, min=0, max=LARGEST_VALUE)
    sales_value = dy.Float64(nullable=False, min=0, max=LARGEST_VALUE)
    retail_disc = dy.Float64(nullable=False, min=0, max=LARGEST_VALUE)
    coupon_disc = dy.Float64(nullable=False, min=0, max=LARGEST_VALUE)
    coupon_match_disc = dy.Float64(nullable=False, min=0, max=LARGEST_VALUE)
    week = dy.Int64(nullable=False, min=1, max=53)
    transaction_timestamp = dy.Datetime(nullable=False, time_unit="us")


class DeliveredProducts(dy.Schema):
    product_id = dy.Int64(primary_key=True)
    manufacturer_id = dy.Int64(nullable=True)
    department = dy.String(nullable=False)
    product_category = dy.String(nullable=True)
    product_type = dy.String(nullable=True)


class DeliveredPromotions(dy.Schema):
    product_id = dy.Int64(primary_key=True)
    store_id = dy.Int64(primary_key=True)
    week = dy.Int64(primary_key=True, min=1, max=53)
    display_location = dy.String(primary_key=True)
    mailer_location = dy.String(primary_key=True)


class DeliveredDescriptions(dy.Schema):
    campaign_id = dy.Int64(primary_key=True)
    campaign_type = dy.String(nullable=False)
    start_date = dy.Date(nullable=False)
    end_date = dy.Date(nullable=False)

    @dy.rule()
    def ends_after_start(cls) -> pl.Expr:
        return pl.col("end_date") >= pl.col("start_date")


class DeliveredTargets(dy.Schema):
    campaign_id = dy.Int64(primary_key=True)
    household_id = dy.Int64(primary_key=True)


class DeliveredCoupons(dy.Schema):
    coupon_upc = dy.Int64(primary_key=True)
    product_id = dy.Int64(primary_key=True)
    campaign_id = dy.Int64(primary_key=True)


class DeliveredRedemptions(dy.Schema):
    household_id = dy.Int64(primary_key=True)
    coupon_upc = dy.Int64(primary_key=True)
    campaign_id = dy.Int64(primary_key=True)
    redemption_date = dy.Date(primary_key=True)


class DeliveredDemographics(dy.Schema):
    household_id = dy.Int64(primary_key=True)
    age = dy.String(nullable=True)
    income = dy.String(nullable=True)
    home_ownership = dy.String(nullable=True)
    marital_status = dy.String(nullable=True)
    household_size = dy.String(nullable=True)
    household_comp = dy.String(nullable=True)
    kids_count = dy.String(nullable=True)


_HOUSEHOLD = Reference(("household_id",), "transactions", "unknown household (it has no purchase)")
_CAMPAIGN = Reference(("campaign_id",), "campaign_descriptions", "unknown campaign")
_TARGETED = Reference(("household_id", "campaign_id"), "campaigns", "the household is not a target of this campaign")

DECLARED: dict[str, Declared] = {
    declared.name: declared
    for declared in (  # in the order of their references
        Declared("products", DeliveredProducts, required=True),
        Declared(
            "transactions",
            DeliveredTransactions,
            required=True,
            instant="transaction_timestamp",
            references=(Reference(("product_id",), "products", "unknown product", keep_without="product_id"),),
        ),
        Declared("promotions", DeliveredPromotions),
        Declared("demographics", DeliveredDemographics, references=(_HOUSEHOLD,)),
        Declared(
            "campaign_descriptions",
            DeliveredDescriptions,
            instant="start_date",
            may_precede=True,
            reasons={"ends_after_start": "end_date is before start_date"},
        ),
        Declared("campaigns", DeliveredTargets, references=(_CAMPAIGN, _HOUSEHOLD)),
        Declared(
            "coupons",
            DeliveredCoupons,
            references=(_CAMPAIGN, Reference(("product_id",), "products", "unknown product")),
        ),
        Declared(
            "coupon_redemptions",
            DeliveredRedemptions,
            instant="redemption_date",
            references=(_CAMPAIGN, _HOUSEHOLD, _TARGETED),
        ),
    )
}

NEEDED_BY: dict[str, tuple[str, ...]] = {
    "promotions": ("channel",),
    "campaign_descriptions": ("ctr", "cvr"),
    "campaigns": ("ctr", "cvr"),
    "coupons": ("ctr",),
    "coupon_redemptions": ("cvr",),
}
"""Optional delivered table → the tasks that have no honest label without it."""
