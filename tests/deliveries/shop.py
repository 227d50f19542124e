"""A data set of our own in contract form: a YAML file and three Parquet files, 60 customers of a small shop.

Every second customer has a rhythm of 5 days, the others one of 11; each prefers one of six departments.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from tests.deliveries.makers import Frames, write

CUSTOMERS, FIRST, DAYS = 60, date(2023, 1, 1), 300
DEPARTMENTS = ("bread", "fruit", "dairy", "wine", "paper", "tools")
DESCRIPTION = """\
name: shop
title: A small shop
notice: Written by a test.
source: contract_files
folder: tables
zone: Europe/Lisbon
covers_from: 2023-01-01
covers_until: 2023-10-28
channels: [till, web, phone]
"""


def tables() -> Frames:
    """customers, products, transactions; integers are narrow, instants naive, and optional columns absent."""
    rng = np.random.default_rng(5)
    products = pl.DataFrame(
        {
            "product_id": [f"p{i}" for i in range(24)],
            "category_l1": [DEPARTMENTS[i % 6] for i in range(24)],
            "brand": [None if i % 5 == 0 else f"brand {i % 7}" for i in range(24)],
        }
    )
    rows = []
    for c in range(CUSTOMERS):
        gap, start = (5, 11)[c % 2], int(rng.integers(0, 60))
        for day in range(start, DAYS, gap):
            if rng.random() < 0.15:
                continue
            at = datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), UTC)
            at += timedelta(minutes=int(rng.integers(8 * 60, 20 * 60)))
            bought, channel = {c % 6, *rng.integers(0, 24, 2).tolist()}, ("till", "web", "phone")[day % 3]
            rows += [(f"n{c:02d}", at, f"p{product}", int(rng.integers(1, 5)), channel) for product in sorted(bought)]
    schema = {"customer_id": pl.String, "at": pl.Datetime("ms", "UTC"), "product_id": pl.String, "quantity": pl.Int8}
    lines = pl.DataFrame(rows, schema={**schema, "channel": pl.String}, orient="row").with_columns(
        transaction_id=pl.format("x{}", pl.int_range(pl.len())),
        basket_id=pl.format("{} {}", "customer_id", pl.col("at").dt.date()),
        amount=(pl.col("quantity") * 2.5).round(2),
        discount=pl.lit(0.0),
        merchant_id=pl.lit("the shop"),
        kind=pl.lit("purchase"),
        at=pl.col("at").dt.replace_time_zone(None),
    )
    joined = lines.group_by("customer_id", maintain_order=True).agg(joined_on=pl.col("at").min().dt.date())
    return {"customers": joined.with_columns(loyalty_card=pl.lit("yes")), "products": products, "transactions": lines}


def describe(folder: Path, text: str = DESCRIPTION) -> Path:
    """Write `shop.yaml` and its tables; returns the path of the YAML file."""
    write(tables(), folder / "tables")
    path = folder / "shop.yaml"
    path.write_text(text, encoding="utf-8")
    return path
