"""The labels at a snapshot t: one column a task, null where the customer is not eligible. Source: DATA §3."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.labels import facts
from feature_assets.labels.state import LabelState, spend_ratio
from feature_assets.labels.tasks import ACTIVE_DAYS, CYCLE_EDGES, DTYPES, KINDS, LONG_WINDOWS, NONE, STAGES, windows

CENSORED_DAYS = 28  # who is first seen in so few days after the data begin may be an old customer


def compute_labels(tables: Tables, as_of: date, state: LabelState, known_until: date) -> pl.DataFrame:
    """The labels of every customer known strictly before t = `as_of`, by events in [t, t + window) alone, with the past
    for eligibility.

    Args:
        tables: contract tables.
        as_of: the snapshot t.
        state: fitted vocabularies, quantiles and edges.
        known_until: first day whose events are not known; a task whose window reaches past it is masked.

    Returns:
        customer_id, as_of, then one column a task that is on, sorted by customer_id. Null = masked. Binary Int8 0/1;
        regression Float64 in the label's unit; multiclass Int16 index into `state.classes[task]`; brand_prediction
        List(Int32) of distinct indices, the most frequently bought first.
    """
    days = windows(tables.dataset)
    matured = [task for task, window in days.items() if as_of + timedelta(days=window) <= known_until]
    known = facts.known_customers(tables, as_of)
    labels = known
    if matured:
        around = facts.purchases(tables, as_of, known)
        lines = facts.window_lines(tables, as_of, tables.dataset.horizon_days)
        labels = around.with_columns(_from_purchases(tables, as_of, state))
        for part in (
            _engagement(tables, as_of),
            _balance_util(tables, as_of),
            _nba(tables, as_of, state, known),
            _spending_category(lines, state),
            _channel(tables, lines, state),
            _brands(lines, state),
            facts.favourite_share(tables, as_of).select("customer", merchant_affinity="share"),
        ):
            labels = labels.join(part, on="customer", how="left", maintain_order="left")
        labels = labels.join(_campaigns(tables, as_of), on="customer_id", how="left", maintain_order="left")
    return labels.select(
        "customer_id",
        pl.lit(as_of).alias("as_of"),
        *((pl.col(task) if task in matured else pl.lit(None)).cast(DTYPES[KINDS[task]]).alias(task) for task in days),
    )


def _from_purchases(tables: Tables, t: date, state: LabelState) -> list[pl.Expr]:
    """Labels that need the purchase facts of `facts.purchases` only."""
    bought, active = pl.col("bought_0"), pl.col("active")
    every = pl.all_horizontal(f"bought_{k}" for k in range(LONG_WINDOWS))
    spend = pl.col("spend").clip(0.0).log1p()
    wait = pl.col("wait").fill_null(CYCLE_EDGES[-1])
    return [
        pl.when(active).then(~bought).alias("churn"),
        pl.when(active).then(every).alias("retention"),
        pl.col("spend_long").clip(0.0).log1p().alias("ltv"),
        pl.sum_horizontal(wait >= edge for edge in CYCLE_EDGES).alias("consumption_cycle"),
        spend.map_batches(
            lambda s: pl.Series(np.interp(s.to_numpy(), state.spend_knots, state.spend_levels)), return_dtype=pl.Float64
        ).alias("spending_bucket"),
        _life_stage(tables, t, state).alias("life_stage"),
    ]


def _life_stage(tables: Tables, t: date, state: LabelState) -> pl.Expr:
    """The stage of every customer, the first that applies:

    - dormant: no purchase in [t, t + H);
    - new: joined in the 56 days before t, and not within the first 28 days of the data, when joining is not observed;
    - returning: no purchase in the 56 days before t;
    - growing, declining: spend in the window over the spend expected from these 56 days is at least the upper, below
      the lower edge (nothing spent in them: growing);
    - steady: between the edges.
    """
    low, high = state.stage_edges
    observed = tables.dataset.covers_from + timedelta(days=CENSORED_DAYS)
    joined = pl.col("joined_on")
    ratio = spend_ratio(tables.dataset.horizon_days)
    stage = (
        pl.when(~pl.col("bought_0"))
        .then(pl.lit("dormant"))
        .when((joined >= t - timedelta(days=ACTIVE_DAYS)) & (joined >= observed))
        .then(pl.lit("new"))
        .when(~pl.col("active"))
        .then(pl.lit("returning"))
        .when((pl.col("spend_past") <= 0) | (ratio >= high))
        .then(pl.lit("growing"))
        .when(ratio < low)
        .then(pl.lit("declining"))
        .otherwise(pl.lit("steady"))
    )
    return _index(stage, STAGES)


def _index(name: pl.Expr, classes: list[str]) -> pl.Expr:
    return name.replace_strict(classes, list(range(len(classes))), default=None, return_dtype=pl.Int16)


def _engagement(tables: Tables, t: date) -> pl.DataFrame:
    """log1p of the active days in the window, for customers with an active day in the 56 days before t."""
    active = facts.active_days(tables, t).filter(pl.col("past_days") > 0)
    return active.select("customer", engagement=pl.col("days").cast(pl.Float64).log1p())


def _balance_util(tables: Tables, t: date) -> pl.DataFrame:
    """Mean balance over limit of the customers with a statement that has a limit in the window."""
    if "balance_util" in tables.dataset.tasks_off or not tables.has("balances"):
        return pl.DataFrame(schema={"customer": pl.UInt32, "balance_util": pl.Float64})
    return facts.limit_use(tables, t).rename({"share": "balance_util"})


def _nba(tables: Tables, t: date, state: LabelState, known: pl.DataFrame) -> pl.DataFrame:
    """The first of the eleven frequent categories or kinds of products newly taken up in the window. "none" says that
    none of the eleven was: a rarer new one does not count, so that no row is masked for its outcome."""
    if "nba" not in state.classes:
        return pl.DataFrame(schema={"customer": pl.UInt32, "nba": pl.Int16})
    classes = state.classes["nba"]
    taken = facts.taken_up(tables, t, among=classes[:-1])
    every = known.select("customer").join(taken, on="customer", how="left", maintain_order="left")
    return every.select("customer", _index(pl.col("taken").fill_null(NONE), classes).alias("nba"))


def _spending_category(lines: pl.DataFrame, state: LabelState) -> pl.DataFrame:
    """The category with the highest lift: share of the customer's spend over the population's share. A customer who
    spent nothing in the twelve categories is masked."""
    if "spending_category" not in state.classes:
        return pl.DataFrame(schema={"customer": pl.UInt32, "spending_category": pl.Int16})
    classes = state.classes["spending_category"]
    spent = (
        lines.filter(pl.col("category_l1").is_in(classes))
        .group_by("customer", "category_l1")
        .agg(pl.col("amount").sum().round(2).alias("weight"))
    )
    return _highest_lift(spent, "category_l1", classes, state.category_shares, "spending_category")


def _channel(tables: Tables, lines: pl.DataFrame, state: LabelState) -> pl.DataFrame:
    """The channel of most of the customer's purchases (baskets), or the one with the highest lift: the share of the
    customer's purchase lines over the population's share."""
    if "channel" not in state.classes:
        return pl.DataFrame(schema={"customer": pl.UInt32, "channel": pl.Int16})
    classes = state.classes["channel"]
    lift = tables.dataset.channel_label == "lift"
    weight = pl.len() if lift else pl.col("basket_id").n_unique()
    counts = lines.filter(pl.col("channel").is_in(classes)).group_by("customer", "channel").agg(weight=weight)
    shares = state.channel_shares if lift else [1.0] * len(classes)
    return _highest_lift(counts, "channel", classes, shares, "channel")


def _highest_lift(
    weights: pl.DataFrame, column: str, classes: list[str], shares: list[float], task: str
) -> pl.DataFrame:
    """`customer` and the class index of the largest weight over the population's share (ties: the first class).

    A customer's total divides all of its classes alike, so it does not change which is the largest.
    """
    lift = pl.col("weight") / pl.col(column).replace_strict(classes, shares, return_dtype=pl.Float64)
    return (
        weights.filter(pl.col("weight") > 0)
        .select("customer", lift.alias("lift"), _index(pl.col(column), classes).alias(task))
        .sort("customer", "lift", task, descending=[False, True, False])
        .group_by("customer", maintain_order=True)
        .agg(pl.col(task).first())
    )


def _brands(lines: pl.DataFrame, state: LabelState) -> pl.DataFrame:
    """The brands of the vocabulary bought in the window, by number of lines, ties by the vocabulary's order. Without
    such a brand a customer is masked."""
    if "brand_prediction" not in state.classes:
        return pl.DataFrame(schema={"customer": pl.UInt32, "brand_prediction": pl.List(pl.Int32)})
    classes = state.classes["brand_prediction"]
    vocabulary = pl.DataFrame({"brand": classes}, schema={"brand": pl.String}).with_row_index("index")
    return (
        lines.join(vocabulary, on="brand", how="inner")
        .group_by("customer", "index")
        .len()
        .sort("customer", "len", "index", descending=[False, True, False])
        .group_by("customer", maintain_order=True)
        .agg(pl.col("index").cast(pl.Int32).alias("brand_prediction"))
    )


def _campaigns(tables: Tables, t: date) -> pl.DataFrame:
    """customer_id, ctr, cvr of the customers exposed in the campaign window. ctr looks at exposures of the campaign
    kinds that have a click label; cvr at all."""
    if not (tables.has("campaigns") and tables.has("campaign_events")):
        return pl.DataFrame(schema={"customer_id": pl.String, "ctr": pl.Boolean, "cvr": pl.Boolean})
    exposed = facts.exposures(tables, t)
    clickable = ~pl.col("kind").is_in(list(tables.dataset.click_kinds_off))
    return exposed.group_by("customer_id").agg(
        pl.when(clickable.any()).then(pl.col("clicked").filter(clickable).any()).alias("ctr"),
        pl.col("converted").any().alias("cvr"),
    )
