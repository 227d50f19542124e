"""What customers did around a snapshot t: the aggregates that labels and their fitted state are both made of.

Every function reads events in [t − past, t + window) only. Frames are keyed by `customer`, the index into the customers
table. Source: DATA §2, §3.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from feature_assets.data.tables import INSTANTS, Tables
from feature_assets.labels.constants import ACTIVE_DAYS, FAVOURITE_DAYS, LONG_WINDOWS, TIMES

DECIMALS = 6  # of sums of money: without the last bits, which depend on how the rows of others lie in memory


def known_customers(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, customer_id, joined_on of the customers known strictly before t, sorted by customer_id."""
    everyone = tables.frames["customers"].select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("customer"), "customer_id", "joined_on"
    )
    return everyone.filter(pl.col("joined_on") < t)


def days_between(frame: pl.DataFrame, first: date, days: int) -> pl.DataFrame:
    """Rows with `day` in [first, first + days)."""
    day = frame["day"]
    return frame.filter((day >= first) & (day < first + timedelta(days=days)))


def purchases(tables: Tables, t: date, known: pl.DataFrame) -> pl.DataFrame:
    """One row a known customer, in the order of `known`: purchases around t by windows of H days.

    joined_on; `active` (a purchase in the 56 days before t); `spend_past` (over these 56 days); `spend`, `spend_long`
    (purchases and refunds in [t, t + H) and [t, t + 3H)); `bought_0`, `bought_1`, `bought_2` (a purchase in each of the
    three windows); `wait` (days to the next purchase, null when none in [t, t + H)); `timing` (weekday × 6-hour part of
    that purchase, 0–27).
    """
    h = tables.dataset.horizon_days
    offset = (pl.col("day") - pl.lit(t)).dt.total_days()
    baskets = days_between(tables.baskets, t - timedelta(days=ACTIVE_DAYS), ACTIVE_DAYS + LONG_WINDOWS * h)
    baskets = baskets.with_columns(offset.alias("offset"))
    past, window = pl.col("offset") < 0, pl.col("offset").is_between(0, h, closed="left")
    part = pl.col("weekday").cast(pl.Int16) * (len(TIMES) // 7) + (pl.col("hour") / 6).floor().cast(pl.Int16)
    bought = baskets.group_by("customer").agg(
        past.any().alias("active"),
        *(
            pl.col("offset").is_between(k * h, (k + 1) * h, closed="left").any().alias(f"bought_{k}")
            for k in range(LONG_WINDOWS)
        ),
        pl.col("offset").filter(window).first().alias("wait"),
        part.filter(window).first().alias("timing"),
    )
    spent = _spend(tables, t)
    return (
        known.join(bought, on="customer", how="left", maintain_order="left")
        .join(spent, on="customer", how="left", maintain_order="left")
        .with_columns(
            pl.col("active", "bought_0", "bought_1", "bought_2").fill_null(False),
            pl.col("spend_past", "spend", "spend_long").fill_null(0.0),
        )
    )


def _spend(tables: Tables, t: date) -> pl.DataFrame:
    h = tables.dataset.horizon_days
    daily = days_between(tables.daily_spend, t - timedelta(days=ACTIVE_DAYS), ACTIVE_DAYS + LONG_WINDOWS * h)
    day, amount = pl.col("day"), pl.col("amount")
    return daily.group_by("customer").agg(
        amount.filter(day < t).sum().round(DECIMALS).alias("spend_past"),
        amount.filter((day >= t) & (day < t + timedelta(days=h))).sum().round(DECIMALS).alias("spend"),
        amount.filter(day >= t).sum().round(DECIMALS).alias("spend_long"),
    )


def active_days(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, `days` (active days in [t, t + H)), `past_days` (in the 56 days before t), of those who have any.

    A day is active with a session or a purchase.
    """
    days = ACTIVE_DAYS + tables.dataset.horizon_days
    first = t - timedelta(days=ACTIVE_DAYS)
    active = [days_between(tables.baskets, first, days).select("customer", "day")]
    if tables.has("sessions"):
        local = pl.col("at").dt.convert_time_zone(tables.dataset.zone).dt.date()
        sessions = between(tables, "sessions", first, days).select("customer_id", day=local)
        active.append(numbered(tables, sessions).select("customer", "day"))
    before = pl.col("day") < t
    return (
        pl.concat(active)
        .unique()
        .group_by("customer")
        .agg((~before).sum().alias("days"), before.sum().alias("past_days"))
    )


def between(tables: Tables, table: str, first: date, days: int) -> pl.DataFrame:
    """Rows of an event table that became known in [first, first + days), local days."""
    column, last = INSTANTS[table], first + timedelta(days=days)
    frame = tables.frames[table]
    start, end = (first, last) if column != "at" else (tables.dataset.instant(first), tables.dataset.instant(last))
    return frame.filter((pl.col(column) >= start) & (pl.col(column) < end))


def numbered(tables: Tables, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `customer`, the index of its customer_id into the customers table."""
    codes = tables.frames["customers"].select("customer_id", customer=pl.int_range(pl.len(), dtype=pl.UInt32))
    return frame.join(codes, on="customer_id", how="inner", maintain_order="left")


def limit_use(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, `share`: mean of balance over limit, over the statements in [t, t + H) that state a limit."""
    stated = between(tables, "balances", t, tables.dataset.horizon_days).filter(pl.col("limit") > 0)
    stated = numbered(tables, stated)
    customer = stated["customer"].to_numpy()
    rows = np.bincount(customer)
    used = np.bincount(customer, weights=(stated["balance"] / stated["limit"]).to_numpy())  # in the order of the table
    who = np.flatnonzero(rows)
    return pl.DataFrame({"customer": who.astype(np.uint32), "share": used[who] / rows[who]})


def window_lines(tables: Tables, first: date, days: int) -> pl.DataFrame:
    """Purchase lines with a day in [first, first + days), in the tables' order."""
    return days_between(tables.lines, first, days).filter(pl.col("kind") == "purchase")


def taken_up(tables: Tables, t: date, among: list[str] | None = None) -> pl.DataFrame:
    """`customer`, `taken`: the first category in [t, t + H) that the customer had never bought before, or the first
    kind of product opened then and never held before, as the data set says.

    Of categories first bought at the same instant it is the one on which more was spent, then the first by name; of
    kinds opened on the same day the first by name.

    Args:
        among: look at these categories or kinds only.
    """
    if tables.dataset.nba_from == "holdings":
        first = _opened(tables, t).rename({"product_kind": "taken"})
    else:
        first = days_between(tables.first_purchases, t, tables.dataset.horizon_days).rename({"category_l1": "taken"})
    if among is not None:
        first = first.filter(pl.col("taken").is_in(among))
    return first.group_by("customer", maintain_order=True).agg(pl.col("taken").first())


def _opened(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, product_kind newly opened in [t, t + H), by customer, day and name: what the rows stated before the
    window's end say, for kinds that none of them says was held before t."""
    end = t + timedelta(days=tables.dataset.horizon_days)
    held = tables.frames["holdings"].filter(pl.col("as_of") < end)
    kind = ["customer_id", "product_kind"]
    opened = held.filter((pl.col("opened_on") >= t) & (pl.col("opened_on") < end)).select(*kind, "opened_on")
    new = opened.join(held.filter(pl.col("opened_on") < t), on=kind, how="anti")
    return numbered(tables, new).sort("customer", "opened_on", "product_kind").select("customer", "product_kind")


def favourite_share(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, `share`: share of the window's baskets at the merchant with most baskets in the 180 days before t
    (ties: the smallest id). Only customers with baskets on both sides of t."""
    past = days_between(tables.baskets, t - timedelta(days=FAVOURITE_DAYS), FAVOURITE_DAYS)
    window = days_between(tables.baskets, t, tables.dataset.horizon_days)
    names = pl.concat([past["merchant_id"], window["merchant_id"]]).unique().sort()
    number = pl.col("merchant_id").cast(pl.Enum(names)).to_physical().cast(pl.UInt64)  # in the order of the ids
    # Most baskets, then the smallest id, as the largest of one number: no sort by three columns.
    rank = pl.col("len").cast(pl.UInt64) * len(names) + (len(names) - 1 - pl.col("merchant"))
    favourite = (
        past.select("customer", merchant=number)
        .group_by("customer", "merchant")
        .len()
        .group_by("customer")
        .agg((len(names) - 1 - rank.max() % len(names)).alias("favourite"))
    )
    both = window.select("customer", merchant=number).join(favourite, on="customer", how="inner")
    return both.group_by("customer").agg((pl.col("merchant") == pl.col("favourite")).mean().alias("share"))


def exposures(tables: Tables, t: date) -> pl.DataFrame:
    """Campaign exposures that start in [t, t + campaign horizon): customer_id, campaign_id, `kind`, `clicked` and
    `converted` (Boolean: such an event of this customer and campaign in the same window).

    A member of a control group, from whom the campaign was withheld, is not exposed.
    """
    events = between(tables, "campaign_events", t, tables.dataset.campaign_horizon_days)
    if "is_control" in events.columns:
        events = events.filter(~pl.col("is_control").fill_null(False))
    did = events.group_by("customer_id", "campaign_id").agg(
        *((pl.col("event") == event).any().alias(event) for event in ("impression", "click", "conversion"))
    )
    kinds = tables.frames["campaigns"].select("campaign_id", "kind")
    return (
        did.filter("impression")
        .join(kinds, on="campaign_id", how="left")
        .select("customer_id", "campaign_id", "kind", clicked="click", converted="conversion")
        .sort("customer_id", "campaign_id")
    )
