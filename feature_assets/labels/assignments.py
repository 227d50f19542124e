"""Randomised campaigns as events: which customers were assigned to a campaign or to its control group, and their net
spend around a day. Source: DATA §1, §3.

Events from t on are read through `Window`, the past through `View`. Frames are keyed by `customer`, the index into the
customers table.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from feature_assets.data.contract import SPEND
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.events.window import Window

TARGETED = "targeted"


def assignments(tables: Tables, t: date) -> pl.DataFrame:
    """The first randomised campaign of each customer that starts in [t, t + H): `customer`, campaign_id, `starts_on`,
    `treated` (Boolean: not in the control group), by customer.

    A campaign counts if some of its targets are a control group. Of campaigns that start on one day the first by id
    counts; a customer whose first one does not state the group has no row.
    """
    window = Window(tables, t, tables.dataset.horizon_days)
    campaigns = window.campaign_starts().select("campaign_id", "starts_on")
    events = window.events("campaign_events", ("campaign_id", "event", "is_control")).filter(event=TARGETED)
    if "is_control" not in events.columns:
        events = events.with_columns(is_control=pl.lit(None, pl.Boolean))
    targets = events.join(campaigns, on="campaign_id", how="inner").filter(
        pl.col("is_control").any().over("campaign_id")
    )
    first = targets.sort("customer", "starts_on", "campaign_id").unique("customer", keep="first")
    return (
        first.filter(pl.col("is_control").is_not_null())
        .select("customer", "campaign_id", "starts_on", treated=~pl.col("is_control"))
        .sort("customer")
    )


def spend_from(tables: Tables, start: date, days: int) -> pl.DataFrame:
    """Purchases and refunds in [start, start + days): `customer`, `amount`, category_l1."""
    return Window(tables, start, days).spend(("amount", "category_l1"))


def spend_before(tables: Tables, t: date, days: int) -> pl.DataFrame:
    """Purchases and refunds of the last `days` days before t: `customer`, `amount`, category_l1."""
    spend = View(tables, t).events("transactions", ("amount", "category_l1"), {"kind": SPEND}, longest=days)
    customer = pl.Series("customer", spend.population.customer_of[spend.row].astype(np.uint32))
    return spend.frame("amount", "category_l1").select(customer, "amount", "category_l1")
