"""A small sound delivery of The Complete Journey: 200 lines of 5 households, 10 products, 2 campaigns."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from feature_assets.sources.completejourney_tables import DECLARED
from tests.deliveries.makers import Frames

HOUSEHOLDS, LINES = 5, 200


def small() -> Frames:
    """Eight consistent tables."""
    i = pl.int_range(LINES, eager=True)
    transactions = pl.DataFrame(
        {
            "household_id": i % HOUSEHOLDS + 1,
            "store_id": 300 + i % 3,
            "basket_id": 10_000 + i // 2,
            "product_id": i % 10 + 1,
            "quantity": pl.select(pl.when(i % 20 == 0).then(5_000).otherwise(1 + i % 3)).to_series(),
            "sales_value": (i % 7 + 1).cast(pl.Float64),
            "retail_disc": (i % 2).cast(pl.Float64),
            "coupon_disc": pl.repeat(0.25, LINES, eager=True),
            "coupon_match_disc": pl.repeat(0.0, LINES, eager=True),
            "week": 1 + i // 7 % 52,
            "transaction_timestamp": [
                datetime(2017, 1, 2, 12) + timedelta(days=int(k) // 2, hours=int(k) % 5) for k in i
            ],
        }
    ).with_columns(pl.col("transaction_timestamp").dt.cast_time_unit("ns"))
    numbers = pl.int_range(1, 11, eager=True)
    return {
        "transactions": transactions,
        "products": pl.DataFrame(
            {
                "product_id": numbers,
                "manufacturer_id": [69, 2, *range(100, 108)],
                "department": ["GROCERY"] * 6 + ["MEAT"] * 4,
                "brand": "National",
                "product_category": [None, *["SOUP"] * 9],
                "product_type": "CAN",
                "package_size": "1 LB",
            }
        ),
        "promotions": transactions.select("product_id", "store_id", "week")
        .unique(maintain_order=True)
        .with_columns(
            display_location=pl.when(pl.col("product_id") % 3 == 0).then(pl.lit("9")).otherwise(pl.lit("0")),
            mailer_location=pl.when(pl.col("product_id") % 4 == 0).then(pl.lit("A")).otherwise(pl.lit("0")),
        ),
        "demographics": pl.DataFrame({"household_id": [1, 2]}).with_columns(
            pl.lit("x").alias(c) for c in DECLARED["demographics"].types if c != "household_id"
        ),
        "campaign_descriptions": pl.DataFrame(
            {
                "campaign_id": [1, 2],
                "campaign_type": ["Type A", "Type B"],
                "start_date": [datetime(2017, 2, 1), datetime(2016, 12, 1)],
                "end_date": [datetime(2017, 2, 28), datetime(2017, 1, 31)],
            }
        ),
        "campaigns": pl.DataFrame({"campaign_id": [1, 1, 2], "household_id": [1, 2, 3]}),
        "coupons": pl.DataFrame({"coupon_upc": [7, 8], "product_id": [1, 8], "campaign_id": [1, 2]}),
        "coupon_redemptions": pl.DataFrame(
            {
                "household_id": [1, 3],
                "coupon_upc": [7, 8],
                "campaign_id": [1, 2],
                "redemption_date": [datetime(2017, 2, 3), datetime(2017, 1, 20)],
            }
        ),
    }
