"""Sound deliveries of any size, drawn by a seed: what the fuzzing damages. One function a source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from feature_assets.data.contract import BALANCE_KINDS, CAMPAIGN_EVENTS, CONTACT_KINDS, PRODUCT_FAMILIES, SESSION_EVENTS
from feature_assets.data.dataset import DatasetConfig
from feature_assets.sources.completejourney_tables import DECLARED
from tests.deliveries.makers import Frames

KINDS = ("purchase", "purchase", "purchase", "purchase", "refund", "salary", "withdrawal", "fee")
AT = pl.Datetime("us", "UTC")


class Draw:
    """Columns of random values, all from one generator."""

    def __init__(self, seed: int, dataset: DatasetConfig) -> None:
        self.rng = np.random.default_rng(seed)
        self.first, self.days = dataset.covers_from, (dataset.covers_until - dataset.covers_from).days
        self.begin = int(dataset.instant(dataset.covers_from).timestamp()) * 1_000_000
        end = min(dataset.instant(dataset.covers_until), datetime.now(UTC) - timedelta(days=1))
        self.end = int(end.timestamp()) * 1_000_000

    def of(self, values: object, n: int) -> pl.Series:
        """Some of the values."""
        some = pl.Series(values)
        return some.gather(self.rng.integers(0, max(len(some), 1), n if len(some) else 0))

    def at(self, n: int) -> pl.Series:
        return pl.Series(self.rng.integers(self.begin, self.end, n)).cast(AT)

    def day(self, n: int) -> pl.Series:
        return pl.Series(np.datetime64(self.first) + self.rng.integers(0, self.days, n)).cast(pl.Date)

    def money(self, n: int) -> pl.Series:
        return pl.Series(self.rng.gamma(1.5, 20.0, n).round(2))

    def flag(self, n: int, chance: float) -> pl.Series:
        return pl.Series(self.rng.random(n) < chance)


def _ids(prefix: str, n: int) -> pl.Series:
    return pl.select(pl.format(prefix + "{}", pl.int_range(n))).to_series()


def contract(dataset: DatasetConfig, seed: int, size: int) -> Frames:
    """The ten contract tables, of which transactions has `size` rows."""
    d, n = Draw(seed, dataset), size
    people, shops, goods, ads = (
        _ids(p, k) for p, k in (("c", 1 + n // 8), ("m", 1 + n // 50), ("p", 1 + n // 20), ("a", 4))
    )
    few = n // 3
    start = d.day(len(ads))
    frames = {
        "customers": pl.DataFrame(
            {
                "customer_id": people,
                "joined_on": pl.repeat(d.first, len(people), dtype=pl.Date, eager=True),
                "birth_year": pl.Series(d.rng.integers(1930, 2005, len(people)), dtype=pl.Int32),
                "segment": d.of(["customer", "anonymous"], len(people)),
                "plan": d.of(["small", "large", None], len(people)),
            }
        ),
        "merchants": pl.DataFrame(
            {
                "merchant_id": shops,
                "category_l1": d.of(["food", "travel"], len(shops)),
                "category_l2": d.of(["a", "b", "c"], len(shops)),
                "category_l3": d.of(["x", None], len(shops)),
                "brand": d.of(["one", "two", None], len(shops)),
                "region_l1": d.of(["north", None], len(shops)),
            }
        ),
        "products": pl.DataFrame(
            {
                "product_id": goods,
                "category_l1": d.of(["food", "travel"], len(goods)),
                "category_l2": d.of(["a", None], len(goods)),
                "category_l3": d.of(["x", None], len(goods)),
                "brand": d.of(["one", "two", None], len(goods)),
            }
        ),
        "transactions": pl.DataFrame(
            {
                "transaction_id": _ids("t", n),
                "basket_id": d.of(_ids("b", 1 + n // 2), n),
                "customer_id": d.of(people, n),
                "at": d.at(n),
                "amount": d.money(n),
                "discount": d.money(n),
                "quantity": d.of([1, 2, 3, None], n).cast(pl.Int64),
                "merchant_id": d.of(shops, n),
                "product_id": d.of([*goods, None], n),
                "channel": d.of(dataset.channels, n),
                "kind": d.of(KINDS, n),
                "is_overseas": d.flag(n, 0.1),
                "currency": d.of(["CHF", None], n),
            }
        ).with_columns(
            amount=pl.when(pl.col("kind") == "refund").then(-pl.col("amount")).otherwise("amount"),
            merchant_id=pl.when(pl.col("kind").is_in(["purchase", "refund"])).then("merchant_id"),
        ),
        "campaigns": pl.DataFrame(
            {
                "campaign_id": ads,
                "kind": d.of(["Type A", "Type B"], len(ads)),
                "starts_on": pl.repeat(d.first, len(ads), dtype=pl.Date, eager=True),  # events before it are set aside
                "ends_on": start + timedelta(days=20),
            }
        ),
        "campaign_events": pl.DataFrame(
            {
                "customer_id": d.of(people, few),
                "campaign_id": d.of(ads, few),
                "at": d.at(few),
                "event": d.of(CAMPAIGN_EVENTS, few),
                "is_control": d.flag(few, 0.1),
            }
        ),
        "sessions": pl.DataFrame(
            {
                "customer_id": d.of(people, few),
                "at": d.at(few),
                "channel": d.of(["web", "app"], few),
                "event": d.of(SESSION_EVENTS, few),
                "seconds": pl.Series(d.rng.integers(0, 3_000, few).astype(np.float64)),
                "pages": pl.Series(d.rng.integers(0, 30, few), dtype=pl.Int32),
                "campaign_id": d.of([*ads, None], few),
            }
        ),
        "holdings": _holdings(d, people, n // 5),
        "balances": pl.DataFrame(
            {
                "customer_id": d.of(people, few),
                "account_id": d.of(_ids("k", 1 + few // 4), few),
                "on": d.day(few),
                "balance": d.money(few),
                "limit": d.of([1_000.0, None], few).cast(pl.Float64),
                "kind": d.of(BALANCE_KINDS, few),
            }
        ).unique(["customer_id", "account_id", "on"], maintain_order=True),
        "contacts": pl.DataFrame(
            {
                "customer_id": d.of(people, few),
                "at": d.at(few),
                "kind": d.of(CONTACT_KINDS, few),
                "topic": d.of(["card", None], few),
            }
        ),
    }
    return {
        name: frame.cast({c: pl.String for c, t in frame.schema.items() if t == pl.Null})
        for name, frame in frames.items()
    }


def _holdings(d: Draw, people: pl.Series, n: int) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "customer_id": d.of(people, n),
            "product_kind": d.of(list(PRODUCT_FAMILIES), n),
            "opened_on": d.day(n) - timedelta(days=400),
            "as_of": d.day(n),
            "closed_on": d.day(n) - timedelta(days=200),
            "balance": d.money(n),
            "limit": d.of([500.0, None], n).cast(pl.Float64),
        }
    )
    sound = pl.col("closed_on").is_between("opened_on", "as_of")
    closed = pl.when(sound & pl.Series(d.rng.random(n) < 0.2)).then("closed_on")
    return frame.with_columns(closed_on=closed).unique(
        ["customer_id", "product_kind", "opened_on", "as_of"], maintain_order=True
    )


def completejourney(dataset: DatasetConfig, seed: int, size: int) -> Frames:
    """The eight tables of The Complete Journey, of which transactions has `size` rows."""
    d, n = Draw(seed, dataset), size
    goods, people = pl.int_range(1, 2 + n // 20, eager=True), pl.int_range(1, 2 + n // 10, eager=True)
    coded = [c for c in DECLARED["demographics"].types if c != "household_id"]
    lines = pl.DataFrame(
        {
            "household_id": d.of(people, n),
            "store_id": d.of([300, 301, 302], n),
            "basket_id": pl.int_range(n, eager=True) // 3 + 10_000,
            "product_id": d.of(goods, n),
            "quantity": d.of([1, 2, 5_000], n),
            "sales_value": d.money(n),
            "retail_disc": d.money(n),
            "coupon_disc": pl.repeat(0.0, n, eager=True),
            "coupon_match_disc": pl.repeat(0.0, n, eager=True),
            "week": d.of(list(range(1, 54)), n),
            "transaction_timestamp": d.at(n).dt.replace_time_zone(None),
        },
        schema_overrides=dict.fromkeys(("household_id", "store_id", "product_id", "quantity", "week"), pl.Int64),
    ).unique(["household_id", "basket_id", "product_id"], maintain_order=True)
    targets = pl.DataFrame({"campaign_id": d.of([1, 2], n // 5), "household_id": d.of(people, n // 5)}).cast(pl.Int64)
    targets = targets.join(lines, on="household_id", how="semi").unique(maintain_order=True)
    start = d.day(2)
    return {
        "products": pl.DataFrame(
            {
                "product_id": goods,
                "manufacturer_id": d.of([69, 2, 100, 101, None], len(goods)).cast(pl.Int64),
                "department": d.of(["GROCERY", "MEAT"], len(goods)),
                "product_category": d.of(["SOUP", None], len(goods)).cast(pl.String),
                "product_type": d.of(["CAN", None], len(goods)).cast(pl.String),
            }
        ),
        "transactions": lines,
        "promotions": lines.select("product_id", "store_id", "week")
        .unique(maintain_order=True)
        .with_columns(display_location=pl.lit("9"), mailer_location=pl.lit("0")),
        "demographics": lines.select("household_id")
        .unique(maintain_order=True)
        .with_columns(pl.lit("x").alias(c) for c in coded),
        "campaign_descriptions": pl.DataFrame(
            {
                "campaign_id": [1, 2],
                "campaign_type": ["Type A", "Type B"],
                "start_date": pl.repeat(d.first, 2, dtype=pl.Date, eager=True),  # redemptions before it are set aside
                "end_date": start + timedelta(days=9),
            }
        ),
        "campaigns": targets.select("campaign_id", "household_id"),
        "coupons": pl.DataFrame(
            {"coupon_upc": [7, 8], "product_id": goods.head(1).extend(goods.head(1)), "campaign_id": [1, 2]}
        ),
        "coupon_redemptions": targets.select(
            "household_id", coupon_upc=pl.lit(7, pl.Int64), campaign_id="campaign_id"
        ).with_columns(redemption_date=d.day(targets.height)),
    }
