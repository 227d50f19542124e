"""Random purchases of a few customers, with products and campaigns, for tests of tables and labels."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.tables import Tables


def tables(dataset: DatasetConfig, seed: int, customers: int = 40, lines: int = 6_000, days: int = 365) -> Tables:
    """Random purchases over `days` days: uneven customers, categories, brands, merchants, three channels, campaigns."""
    rng = np.random.default_rng(seed)
    start = datetime(2017, 1, 1, 5, tzinfo=UTC)
    categories = [f"D{i:02d}" for i in range(20)]
    products = pl.DataFrame(
        {
            "product_id": [f"p{i}" for i in range(60)],
            "category_l1": [categories[int(i**1.3) % 20] for i in range(60)],
            "category_l2": [f"c{i % 30}" for i in range(60)],
            "category_l3": [None if i % 7 == 0 else f"t{i}" for i in range(60)],
            "brand": [None if i % 5 == 0 else f"b{i % 23}" for i in range(60)],
        }
    )
    who = np.minimum((rng.pareto(0.8, lines) * 3).astype(int), customers - 1)
    day = rng.integers(who % 100, days)
    seconds = rng.integers(6, 24, lines) * 3600 + rng.integers(0, 3600, lines)
    at = [
        start + timedelta(days=int(d), seconds=int(s) // 1800 * 1800 - 3600) for d, s in zip(day, seconds, strict=True)
    ]
    ids = [f"h{i}" for i in who]
    product = rng.integers(0, 63, lines)
    transactions = pl.DataFrame(
        {
            "transaction_id": [f"x{i}" for i in range(lines)],
            "basket_id": [f"{c}@{a:%m%d%H%M}" for c, a in zip(ids, at, strict=True)],
            "customer_id": ids,
            "at": at,
            "amount": rng.integers(0, 900, lines) / 100,
            "discount": rng.integers(0, 50, lines) / 100,
            "quantity": [None if q == 0 else int(q) for q in rng.integers(0, 5, lines)],
            "merchant_id": [f"m{i}" for i in rng.integers(0, 4, lines)],
            "product_id": [f"p{i}" if i < 60 else None for i in product],
            "channel": [("mailer", "display", "shelf", "shelf")[i] for i in rng.integers(0, 4, lines)],
            "kind": "purchase",
        },
        schema_overrides={"at": pl.Datetime("us", "UTC"), "quantity": pl.Int64},
    ).unique("transaction_id", maintain_order=True)
    joined = transactions.group_by("customer_id").agg(
        pl.col("at").min().dt.convert_time_zone(dataset.zone).dt.date().alias("joined_on")
    )
    campaigns = pl.DataFrame(
        {
            "campaign_id": [f"k{i}" for i in range(12)],
            "kind": [f"Type {'ABC'[i % 3]}" for i in range(12)],
            "starts_on": [date(2017, 1, 20) + timedelta(days=29 * i) for i in range(12)],
            "ends_on": [date(2017, 2, 25) + timedelta(days=29 * i) for i in range(12)],
        }
    )
    events = [
        (customer, campaign["campaign_id"], dataset.instant(campaign["starts_on"]) + timedelta(days=int(lag)), event)
        for customer in joined["customer_id"].sort()
        for campaign in campaigns.iter_rows(named=True)
        if rng.random() < 0.4
        for event, lag, chance in (("impression", 0, 1.0), ("click", rng.integers(1, 70), 0.5), ("conversion", 9, 0.2))
        if rng.random() < chance
    ]
    frames = {
        "customers": joined,
        "transactions": transactions,
        "products": products,
        "campaigns": campaigns,
        "campaign_events": pl.DataFrame(
            events,
            schema={
                "customer_id": pl.String,
                "campaign_id": pl.String,
                "at": pl.Datetime("us", "UTC"),
                "event": pl.String,
            },
            orient="row",
        ),
    }
    return Tables(dataset, frames)
