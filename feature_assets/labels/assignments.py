"""Randomised campaigns: which customers were assigned to one, or to its control group. Source: DATA §1, §3."""

from __future__ import annotations

from datetime import date

import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.events.window import Window

ASSIGNED = "targeted"


def assignments(tables: Tables, t: date) -> pl.DataFrame:
    """The first randomised campaign of each customer that starts in [t, t + H).

    A campaign counts if some of its targets are a control group. Of campaigns that start on one day the first by id
    counts. A customer of whose first campaign the group is not stated has no row.

    Returns:
        `customer` (index into the customers table), campaign_id, `starts_on`, `treated` Boolean (not in the control
        group), by customer.
    """
    window = Window(tables, t, tables.dataset.horizon_days)
    campaigns = window.campaigns().filter(pl.col("starts_on") >= t).select("campaign_id", "starts_on")
    events = window.events("campaign_events", ("campaign_id", "event", "is_control"))
    if "is_control" not in events.columns:
        events = events.with_columns(is_control=pl.lit(None, pl.Boolean))
    targets = events.filter(event=ASSIGNED).join(campaigns, on="campaign_id", how="inner")
    randomised = targets.filter(pl.col("is_control").any().over("campaign_id"))
    first = randomised.sort("customer", "starts_on", "campaign_id").unique("customer", keep="first")
    return (
        first.filter(pl.col("is_control").is_not_null())
        .select("customer", "campaign_id", "starts_on", treated=~pl.col("is_control"))
        .sort("customer")
    )
