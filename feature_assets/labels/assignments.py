"""Randomised campaigns as events: which customers were assigned to a campaign or to its control group, and their net
spend around a day. Source: DATA §1, §3.

Every function reads events in [t − past, t + window) only. Frames are keyed by `customer`, the index into the customers
table.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from feature_assets.data.contract import SPEND
from feature_assets.data.tables import Tables
from feature_assets.labels.facts import between, days_between, numbered

TARGETED = "targeted"


def assignments(tables: Tables, t: date) -> pl.DataFrame:
    """The first randomised campaign of each customer that starts in [t, t + H): `customer`, campaign_id, `starts_on`,
    `treated` (Boolean: not in the control group), by customer.

    A campaign counts if some of its targets are a control group. Of campaigns that start on one day the first by id
    counts; a customer whose first one does not state the group has no row.
    """
    horizon = tables.dataset.horizon_days
    starts = pl.col("starts_on").is_between(t, t + timedelta(days=horizon), closed="left")
    campaigns = tables.frames["campaigns"].filter(starts).select("campaign_id", "starts_on")
    events = between(tables, "campaign_events", t, horizon).filter(pl.col("event") == TARGETED)
    if "is_control" not in events.columns:
        events = events.with_columns(is_control=pl.lit(None, pl.Boolean))
    targets = events.join(campaigns, on="campaign_id", how="inner").filter(
        pl.col("is_control").any().over("campaign_id")
    )
    first = numbered(tables, targets).sort("customer", "starts_on", "campaign_id").unique("customer", keep="first")
    return (
        first.filter(pl.col("is_control").is_not_null())
        .select("customer", "campaign_id", "starts_on", treated=~pl.col("is_control"))
        .sort("customer")
    )


def spend_lines(tables: Tables, first: date, days: int) -> pl.DataFrame:
    """Purchases and refunds with a day in [first, first + days): the columns of `Tables.lines`."""
    return days_between(tables.lines, first, days).filter(pl.col("kind").is_in(SPEND))
