"""The data known at an as-of date, by plain joins and filters of the frames: a second definition for tests."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from feature_assets.data.tables import Tables

INSTANTS: dict[str, str] = {
    "transactions": "at",
    "sessions": "at",
    "campaign_events": "at",
    "contacts": "at",
    "holdings": "as_of",
    "balances": "on",
}
"""Table of events → the column that says when a row became known."""

LEVELS = ("category_l1", "category_l2", "category_l3")


def before(table: str, t: date, zone: str) -> pl.Expr:
    """Whether a row of a table of events was known strictly before the local midnight of t."""
    if INSTANTS[table] != "at":
        return pl.col(INSTANTS[table]) < t
    midnight = datetime.combine(t, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return pl.col("at") < pl.lit(midnight).cast(pl.Datetime("us", "UTC"))


def known_frames(tables: Tables, t: date) -> dict[str, pl.DataFrame]:
    """Contract tables as known before t."""
    customers = tables.frames["customers"].filter(pl.col("joined_on") < t)
    known = {}
    for name, frame in tables.frames.items():
        if name == "customers":
            known[name] = customers
        elif name == "campaigns":
            known[name] = frame.filter(pl.col("starts_on") < t)
        elif name in INSTANTS:
            past = frame.filter(before(name, t, tables.dataset.zone))
            known[name] = past.join(customers, on="customer_id", how="semi", maintain_order="left")
        else:
            known[name] = frame
    return known


def every_line(tables: Tables) -> pl.DataFrame:
    """All transactions with local `day`, `weekday`, `hour`, categories and brand, in the tables' order."""
    of = "product" if tables.dataset.categories_from == "products" else "merchant"
    lines = tables.frames["transactions"]
    for by in ("product", "merchant"):
        columns = [*LEVELS, "brand"]
        empty = pl.DataFrame(schema={f"{by}_id": pl.String, **dict.fromkeys(columns, pl.String)})
        described = (pl.col(c).alias(f"{by}_{c}") for c in columns)
        catalogue = tables.frames.get(f"{by}s", empty).select(f"{by}_id", *described)
        lines = lines.join(catalogue, on=f"{by}_id", how="left", maintain_order="left")
    local = pl.col("at").dt.convert_time_zone(tables.dataset.zone)
    seconds = local.dt.hour().cast(pl.Int32) * 3600 + local.dt.minute().cast(pl.Int32) * 60 + local.dt.second()
    return lines.with_columns(
        *(pl.col(f"{of}_{level}").alias(level) for level in LEVELS),
        brand=pl.coalesce("product_brand", "merchant_brand"),
        day=local.dt.date(),
        weekday=local.dt.weekday() - 1,
        hour=(seconds / 3600).cast(pl.Float32),
    )


def lines(tables: Tables, t: date) -> pl.DataFrame:
    """Transactions before t of the customers known then, with `row` (place among them) and `days_ago` ≥ 1."""
    customers = tables.frames["customers"].filter(pl.col("joined_on") < t).select("customer_id").with_row_index("row")
    known = every_line(tables).join(customers, on="customer_id", how="inner", maintain_order="left")
    return known.filter(pl.col("day") < t).with_columns(days_ago=(pl.lit(t) - pl.col("day")).dt.total_days())


def purchases(tables: Tables, t: date) -> pl.DataFrame:
    """Those of `lines` that are purchases."""
    return lines(tables, t).filter(pl.col("kind") == "purchase")


def baskets(tables: Tables, t: date) -> pl.DataFrame:
    """One row a basket and day of `purchases`, by customer, instant and basket: row, basket_id, `at` and merchant of
    the first line, `amount`, `items`."""
    return (
        purchases(tables, t)
        .group_by("row", "basket_id", "day", maintain_order=True)
        .agg(pl.col("at", "merchant_id", "days_ago").first(), pl.col("amount").sum(), items=pl.len())
        .sort("row", "at", "basket_id")
    )
