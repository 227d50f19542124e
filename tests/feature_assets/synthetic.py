"""A small data set of every contract table, for tests that need many variants of the same delivery.

Customers "c000" … buy from 40 products in 6 departments at 5 merchants over 200 days of 2017. "c000" has no purchase,
"c001" a single line on the 30th day; some products have no brand, some lines no product or quantity.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from feature_assets.dataset import DatasetConfig
from feature_assets.tables import Tables

FIRST, DAYS = date(2017, 1, 1), 200
TRAIN = (date(2017, 4, 2), date(2017, 4, 30), date(2017, 5, 21))
AS_OF = date(2017, 6, 11)  # a Sunday, 39 days before the last event
OUTSIDE = 10  # customers, the last ones, that `training_tables` leaves out
ZONE = "America/New_York"


def dataset() -> DatasetConfig:
    return DatasetConfig(
        name="synthetic",
        title="made by a test",
        notice="made by a test",
        source="completejourney",
        zone=ZONE,
        covers_from=FIRST,
        covers_until=FIRST + timedelta(days=DAYS),
        click_kinds_off={"Type A": "everybody clicks"},
    )


def tables(customers: int = 90, seed: int = 0) -> Tables:
    """All five contract tables."""
    rng = np.random.default_rng(seed)
    frames = {"products": _products(rng), "campaigns": _campaigns()}
    frames["transactions"] = _transactions(rng, customers)
    first = (
        frames["transactions"]
        .group_by("customer_id")
        .agg(joined_on=pl.col("at").min().dt.convert_time_zone(ZONE).dt.date())
    )
    ids = pl.DataFrame({"customer_id": [f"c{i:03d}" for i in range(customers)]})
    frames["customers"] = ids.join(first, on="customer_id", how="left").with_columns(
        pl.col("joined_on").fill_null(FIRST + timedelta(days=50))
    )
    frames["campaign_events"] = _campaign_events(rng, customers)
    return Tables(dataset(), frames)


def training_tables(whole: Tables) -> Tables:
    """The same without the last `OUTSIDE` customers."""
    ids = whole.frames["customers"]["customer_id"].to_list()[:-OUTSIDE]
    kept = {
        name: frame.filter(pl.col("customer_id").is_in(ids)) if "customer_id" in frame.columns else frame
        for name, frame in whole.frames.items()
    }
    return Tables(whole.dataset, kept)


def _products(rng: np.random.Generator) -> pl.DataFrame:
    n = 40
    level_1 = rng.choice(
        ["GROCERY", "PRODUCE", "MEAT", "DELI", "FUEL", "FLORAL"], n, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05]
    )
    level_2 = [f"{a} {b}" for a, b in zip(level_1, rng.integers(0, 3, n), strict=True)]
    return pl.DataFrame(
        {
            "product_id": [f"p{i:02d}" for i in range(n)],
            "category_l1": level_1,
            "category_l2": [None if i % 17 == 0 else v for i, v in enumerate(level_2)],
            "category_l3": [f"{v}.{k}" for v, k in zip(level_2, rng.integers(0, 2, n), strict=True)],
            "brand": [None if k == 0 else f"b{k}" for k in rng.integers(0, 8, n)],
        }
    )


def _transactions(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    rate = rng.gamma(2.0, 0.08, customers)  # baskets a day
    favourite = rng.integers(0, 40, customers)
    rows: list[tuple[int, str, datetime, int, int, float]] = []
    for c in range(2, customers):
        start = int(rng.integers(0, 100)) if c % 4 == 0 else 0
        for day in np.flatnonzero(rng.random(DAYS) < rate[c]).tolist():
            if day < start:
                continue
            at = datetime(2017, 1, 1, tzinfo=UTC) + timedelta(days=day, seconds=int(rng.integers(12 * 3600, 26 * 3600)))
            chosen = {int(favourite[c]), *rng.integers(0, 40, int(rng.integers(1, 7))).tolist()}
            rows += [(c, f"k{c}-{day}", at, p, int(rng.integers(0, 5)), float(rng.gamma(1.5, 3.0))) for p in chosen]
    rows.append((1, "k1-30", datetime(2017, 1, 31, 17, tzinfo=UTC), 3, 1, 4.5))
    n = len(rows)
    product = [None if i % 97 == 0 else f"p{r[3]:02d}" for i, r in enumerate(rows)]
    return pl.DataFrame(
        {
            "transaction_id": [f"{r[1]}:{r[3]}" for r in rows],
            "basket_id": [r[1] for r in rows],
            "customer_id": [f"c{r[0]:03d}" for r in rows],
            "at": pl.Series([r[2] for r in rows], dtype=pl.Datetime("us", "UTC")),
            "amount": np.round([r[5] for r in rows], 2),
            "discount": np.round(np.where(rng.random(n) < 0.3, rng.gamma(1.0, 1.0, n), 0.0), 2),
            "quantity": pl.Series(
                [None if i % 53 == 0 else int(v) for i, v in enumerate(rng.integers(1, 4, n))], dtype=pl.Int64
            ),
            "merchant_id": [f"m{r[4]}" for r in rows],
            "product_id": product,
            "channel": rng.choice(["shelf", "mailer", "display"], n, p=[0.6, 0.3, 0.1]),
            "kind": ["purchase"] * n,
        }
    )


def _campaigns() -> pl.DataFrame:
    starts = [FIRST + timedelta(days=20 + 25 * k) for k in range(7)]
    return pl.DataFrame(
        {
            "campaign_id": [f"a{k}" for k in range(7)],
            "kind": [f"Type {'ABC'[k % 3]}" for k in range(7)],
            "starts_on": starts,
            "ends_on": [day + timedelta(days=30) for day in starts],
        }
    )


def _campaign_events(rng: np.random.Generator, customers: int) -> pl.DataFrame:
    rows: list[tuple[str, str, datetime, str]] = []
    for k in range(7):
        shown = datetime(2017, 1, 1, 5, tzinfo=UTC) + timedelta(days=20 + 25 * k)
        for c in np.flatnonzero(rng.random(customers) < 0.5).tolist():
            name = (f"c{c:03d}", f"a{k}")
            rows.append((*name, shown, "impression"))
            for event, odds in (("click", 0.2 + 0.6 * (c % 3 == 0)), ("conversion", 0.15)):
                seconds = rng.integers(1, 30 * 86400, int(rng.binomial(2, odds))).tolist()
                rows += [(*name, shown + timedelta(seconds=s), event) for s in seconds]
    schema = {"customer_id": pl.String, "campaign_id": pl.String, "at": pl.Datetime("us", "UTC"), "event": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
