"""Facts about customers around a snapshot t, of which labels and their fitted state are both made.

The future is read through `Window` only, and lies in [t, t + window); the past through `View` only. Frames are keyed by
`customer`, the index into the customers table. Source: DATA §2, §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from feature_assets.data.horizon import LONG_WINDOWS
from feature_assets.data.tables import Tables
from feature_assets.events.numbers import sum_at
from feature_assets.events.view import View
from feature_assets.events.window import Window
from feature_assets.labels.constants import FAVOURITE_DAYS, TIMES
from feature_assets.labels.past import Past

DECIMALS = 6  # of sums of money: without the last bits, which depend on how the rows of others lie in memory
LINE = ("basket_id", "amount", "channel", "category_l1", "brand")
"""Columns of `window_lines`."""


def known_customers(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, customer_id, joined_on of the customers known strictly before t, sorted by customer_id."""
    view = View(tables, t)
    number = pl.Series("customer", view.population.customer_of.astype(np.uint32))
    return view.customers.select(number, "customer_id", "joined_on")


def purchases(tables: Tables, t: date, known: pl.DataFrame) -> pl.DataFrame:
    """One row a known customer, in the order of `known`: purchases around t by windows of H days.

    joined_on; `active` (`Past.bought`); `spend_past` (over the days in which one is active); `spend`, `spend_long`
    (purchases and refunds in [t, t + H) and [t, t + 3H)); `bought_0`, `bought_1`, `bought_2` (a purchase in each of the
    three windows); `wait` (days to the next purchase, null when none in [t, t + H)); `timing` (weekday × 6-hour part of
    that purchase, 0–27).
    """
    h, n = tables.dataset.horizon_days, tables.customers
    view = View(tables, t)
    active, spend_past = np.zeros(n, dtype=np.bool_), np.zeros(n)
    active[view.population.customer_of] = Past(view).bought.to_numpy()
    spend_past[view.population.customer_of] = view.net_spend(tables.dataset.active_days)
    long = Window(tables, t, LONG_WINDOWS * h)
    buyer, since, hour = long.times()
    bought = [_any(buyer[(since >= k * h) & (since < (k + 1) * h)], n) for k in range(LONG_WINDOWS)]
    next_buyer, line = np.unique(buyer[since < h], return_index=True)  # lines stand in time: the first one of each
    line = np.flatnonzero(since < h)[line]
    wait, timing = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int16)
    wait[next_buyer] = since[line]
    weekday = (t.weekday() + since[line]) % 7
    timing[next_buyer] = weekday * (len(TIMES) // 7) + np.floor(hour[line] / 6).astype(np.int64)
    columns = {
        "active": active,
        **{f"bought_{k}": some for k, some in enumerate(bought)},
        "wait": wait,
        "timing": timing,
        "spend_past": spend_past,
        "spend": Window(tables, t, h).net_spend(),
        "spend_long": long.net_spend(),
    }
    who = known["customer"].to_numpy()
    return known.with_columns([pl.Series(name, values[who]) for name, values in columns.items()]).with_columns(
        pl.when(pl.col("wait") >= 0).then(pl.col("wait")),
        pl.when(pl.col("timing") >= 0).then(pl.col("timing")),
        pl.col("spend_past", "spend", "spend_long").round(DECIMALS),
    )


def _any(customer: np.ndarray, n: int) -> np.ndarray:
    """Whether a customer is among these, bool [n]."""
    some = np.zeros(n, dtype=np.bool_)
    some[customer] = True
    return some


def active_days(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, `days` with a session or a purchase in [t, t + H), of those who have any."""
    window = Window(tables, t, tables.dataset.horizon_days)
    days = [window.baskets(()).select("customer", "day")]
    if tables.has("sessions"):
        days.append(window.events("sessions", ()).select("customer", "day"))
    return pl.concat(days).unique().group_by("customer").len("days")


def limit_use(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, `share`: mean of balance over limit, over the statements in [t, t + H) that state a limit."""
    statements = Window(tables, t, tables.dataset.horizon_days).events("balances", ("balance", "limit"))
    stated = statements.filter(pl.col("limit") > 0)
    customer = stated["customer"].to_numpy()
    rows = sum_at(customer, None, tables.customers)
    used = sum_at(customer, (stated["balance"] / stated["limit"]).to_numpy(), tables.customers)  # in the table's order
    who = np.flatnonzero(rows)
    return pl.DataFrame({"customer": who.astype(np.uint32), "share": used[who] / rows[who]})


def window_lines(tables: Tables, first: date, days: int) -> pl.DataFrame:
    """`customer`, `day` and `LINE` of the purchase lines in [first, first + days), in the table's order."""
    return Window(tables, first, days).purchases(LINE)


def taken_up(tables: Tables, t: date, among: Sequence[str] | None = None) -> pl.DataFrame:
    """`customer`, `taken`: the first category in [t, t + H) that the customer had never bought before, or the first
    kind of product opened then and never held before, as the data set says.

    Of categories first bought at the same instant it is the one on which more was spent, then the first by name; of
    kinds opened on the same day the first by name.

    Args:
        tables: the data set.
        t: the snapshot.
        among: look at these categories or kinds only.
    """
    window = Window(tables, t, tables.dataset.horizon_days)
    if tables.dataset.nba_from == "holdings":
        first = _opened(View(tables, t), window).rename({"product_kind": "taken"})
    else:
        first = window.first_purchases().rename({"category_l1": "taken"})
    if among is not None:
        first = first.filter(pl.col("taken").is_in(list(among)))
    return first.group_by("customer", maintain_order=True).agg(pl.col("taken").first())


def _opened(view: View, window: Window) -> pl.DataFrame:
    """`customer`, product_kind newly opened in the window, by customer, day and name: what the rows stated in it say,
    for kinds that no row, of before or in the window, says was held before t."""
    stated = window.events("holdings", ("product_kind", "opened_on"))
    t = pl.lit(window.start)
    key = ["customer", "product_kind"]
    held = view.events("holdings", ("product_kind",))
    before = pl.DataFrame(
        {
            "customer": held.population.customer_of[held.row].astype(np.uint32),
            "product_kind": held.columns.codes("product_kind").texts(),
        }
    )
    before = pl.concat([before, stated.filter(pl.col("opened_on") < t).select(key)])
    new = stated.filter(pl.col("opened_on") >= t).join(before, on=key, how="anti")
    return new.sort("customer", "opened_on", "product_kind").select(key)


def favourite_share(tables: Tables, t: date) -> pl.DataFrame:
    """`customer`, `share`: share of the window's baskets at the merchant with most baskets in the 180 days before t
    (ties: the smallest id). Only customers with baskets on both sides of t."""
    past = View(tables, t).baskets(FAVOURITE_DAYS)
    names = past.names("merchant_id")  # in the order of the ids
    merchant = np.where(past.codes("merchant_id") >= 0, past.codes("merchant_id"), len(names))
    window = Window(tables, t, tables.dataset.horizon_days).baskets(("merchant_id",))
    number = pl.DataFrame({"merchant_id": pl.Series(names, dtype=pl.String)}).with_row_index("merchant")
    # Most baskets, then the smallest id, as the largest of one number: no sort by three columns.
    rank = pl.col("len").cast(pl.UInt64) * len(names) + (len(names) - 1 - pl.col("merchant").cast(pl.UInt64))
    favourite = (
        pl.DataFrame({"customer": past.population.customer_of[past.row].astype(np.uint32), "merchant": merchant})
        .filter(pl.col("merchant") < len(names))
        .group_by("customer", "merchant")
        .len()
        .group_by("customer")
        .agg((len(names) - 1 - rank.max() % len(names)).alias("favourite"))
    )
    both = window.join(number, on="merchant_id", how="left", maintain_order="left").join(
        favourite, on="customer", how="inner"
    )
    return both.group_by("customer").agg((pl.col("merchant") == pl.col("favourite")).mean().alias("share"))


def exposures(tables: Tables, t: date) -> pl.DataFrame:
    """Campaign exposures that start in [t, t + campaign horizon): customer_id, campaign_id, `kind`, `clicked` and
    `converted` (Boolean: such an event of this customer and campaign in the same window).

    A member of a control group, from whom the campaign was withheld, is not exposed.
    """
    window = Window(tables, t, tables.dataset.campaign_horizon_days)
    events = window.campaign_events().filter(~pl.col("is_control").fill_null(False))
    did = events.group_by("customer", "campaign_id").agg(
        *((pl.col("event") == event).any().alias(event) for event in ("impression", "click", "conversion"))
    )
    exposed = did.filter("impression").join(
        window.campaigns().select("campaign_id", "kind"), on="campaign_id", how="left"
    )
    return (
        exposed.with_columns(customer_id=window.ids(exposed["customer"]))
        .select("customer_id", "campaign_id", "kind", clicked="click", converted="conversion")
        .sort("customer_id", "campaign_id")
    )
