"""Tasks of the group consumption: nba, spending_category, consumption_cycle, spending_bucket, category_uplift,
brand_prediction, merchant_affinity. Source: DATA §3, MODEL §2."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from feature_assets.labels import effects, facts
from feature_assets.labels.buying import Buying
from feature_assets.labels.constants import CATEGORY_CLASSES, CYCLE_EDGES, NBA_CLASSES, NONE, cycle_edges, cycles
from feature_assets.labels.context import Snapshot, Training
from feature_assets.labels.kinds import CONTRASTIVE, MULTICLASS, REGRESSION, UPLIFT_BY_CLASS
from feature_assets.labels.lifts import highest_lift, index_of
from feature_assets.labels.merging import BY_DAYS
from feature_assets.labels.natural import Natural
from feature_assets.labels.quantiles import ecdf
from feature_assets.labels.state import LabelState
from feature_assets.labels.task import ACTIVE, ByDescription, ModelSettings, Reads, Task

GROUP, HMM = "consumption", "behavior"


def _nba(s: Snapshot) -> pl.Series:
    """The first of the eleven frequent categories or kinds of products newly taken up in the window. "none" says that
    none of the eleven was: a rarer new one does not count, so that no row is masked for its outcome."""
    classes = s.classes("nba")
    taken = s.per_customer(facts.taken_up(s.tables, s.as_of, among=classes[:-1]), "taken")
    return pl.select(index_of(pl.lit(taken.fill_null(NONE)), classes)).to_series()


def _first_taken_up(training: Training) -> list[str]:
    """Products most often newly taken up in the training windows, most frequent first, then by name; and none."""
    taken = pl.concat(facts.taken_up(training.tables, t) for t in training.dates)
    frequent = taken.group_by("taken").len().sort("len", "taken", descending=[True, False])
    return [*frequent["taken"].head(NBA_CLASSES).to_list(), NONE]


def _spending_category(s: Snapshot) -> pl.Series:
    """The category with the highest lift: share of the customer's spend over the population's share. A customer who
    spent nothing in the twelve categories is masked."""
    classes = s.classes("spending_category")
    spent = (
        s.lines.filter(pl.col("category_l1").is_in(classes))
        .group_by("customer", "category_l1")
        .agg(pl.col("amount").sum().round(2).alias("weight"))
    )
    return s.per_customer(highest_lift(spent, "category_l1", classes, s.state.category_shares), "class")


def _category_names(training: Training) -> list[str]:
    return training.categories[0]


def _category_shares(training: Training) -> dict[str, Any]:
    return {"category_shares": training.categories[1]}


def _consumption_cycle(s: Snapshot) -> pl.Series:
    edges = cycle_edges(s.horizon)
    wait = pl.col("wait").fill_null(edges[-1])
    return s.purchases.select(pl.sum_horizontal(wait >= edge for edge in edges)).to_series()


def _chance_of_each_cycle(model: Buying, days: int) -> np.ndarray:
    """The chance that the wait ends in each class [N, K]."""
    ended = np.stack([model.chance(edge) for edge in cycle_edges(days)], axis=1)
    return np.diff(ended, axis=1, prepend=0.0, append=1.0)


def _spending_bucket(s: Snapshot) -> pl.Series:
    spend = s.purchases["spend"].clip(0.0).log1p().to_numpy()
    return pl.Series(np.interp(spend, s.state.spend_knots, s.state.spend_levels))


def _spend_quantiles(training: Training) -> dict[str, Any]:
    knots, levels = ecdf(training.purchases["spend"].clip(0.0).log1p().to_numpy())
    return {"spend_knots": knots, "spend_levels": levels}


def _spend_of_quantile(labels: np.ndarray, state: LabelState) -> np.ndarray:
    return np.expm1(np.interp(labels, state.spend_levels, state.spend_knots))


def _brand_prediction(s: Snapshot) -> pl.Series:
    """The brands of the vocabulary bought in the window, by number of lines, ties by the vocabulary's order. Without
    such a brand a customer is masked."""
    names = s.classes("brand_prediction")
    vocabulary = pl.DataFrame({"brand": names}, schema={"brand": pl.String}).with_row_index("index")
    brands = (
        s.lines.join(vocabulary, on="brand", how="inner")
        .group_by("customer", "index")
        .len()
        .sort("customer", "len", "index", descending=[False, True, False])
        .group_by("customer", maintain_order=True)
        .agg(pl.col("index").cast(pl.Int32).alias("brands"))
    )
    return s.per_customer(brands, "brands")


def _brand_names(training: Training) -> list[str]:
    return training.brands[0]


def _brand_frequency(training: Training) -> dict[str, Any]:
    return {"brand_frequency": training.brands[1]}


def _merchant_affinity(s: Snapshot) -> pl.Series:
    return s.per_customer(facts.favourite_share(s.tables, s.as_of), "share")


TASKS = (
    Task(
        name="nba",
        meaning="First product or category that the customer newly takes up in the next {days} days, or none.",
        kind=MULTICLASS,
        group=GROUP,
        label=_nba,
        classes=_first_taken_up,
        none_class=NONE,
        model=ModelSettings("nll", HMM, 2.0, ("perslay", "unified_hgcn", "lightgcn"), out=NBA_CLASSES + 1),
    ),
    Task(
        name="spending_category",
        meaning="Category on which the customer spends most in the next {days} days, compared with the average "
        "customer, if they buy.",
        kind=MULTICLASS,
        group=GROUP,
        eligibility=ACTIVE,
        labelled="customers who buy in one of the classes in the next {days} days",
        label=_spending_category,
        classes=_category_names,
        fit=_category_shares,
        model=ModelSettings("nll", HMM, 1.2, ("unified_hgcn", "perslay"), out=CATEGORY_CLASSES, reads=(Reads("nba"),)),
    ),
    Task(
        name="consumption_cycle",
        meaning="Days until the next purchase, in {classes}.",
        kind=MULTICLASS,
        group=GROUP,
        label=_consumption_cycle,
        buying=_chance_of_each_cycle,
        classes=ByDescription(lambda dataset: cycles(dataset.horizon_days)),
        merging=BY_DAYS,
        model=ModelSettings("nll", HMM, 0.8, ("temporal",), out=len(CYCLE_EDGES) + 1),
    ),
    Task(
        name="spending_bucket",
        meaning="Spend less refunds in the next {days} days, as a quantile among all customers (0 lowest, 1 highest).",
        unit="quantile",
        natural=Natural("currency", _spend_of_quantile),
        kind=REGRESSION,
        group=GROUP,
        label=_spending_bucket,
        fit=_spend_quantiles,
        model=ModelSettings("huber", HMM, 0.8, ("deepfm",)),
    ),
    Task(
        name="category_uplift",
        meaning="Additional spend on each category in the {effect} days from the start of a campaign if the customer "
        "receives it, for a campaign that starts in the next {horizon} days.",
        unit="currency",
        kind=UPLIFT_BY_CLASS,
        group=GROUP,
        window=effects.window,
        labelled=effects.ASSIGNED,
        label=effects.by_category,
        classes=_category_names,
        needs=("campaigns", "campaign_events"),
        default=False,
        model=ModelSettings("mse", HMM, 1.5, out=CATEGORY_CLASSES),
    ),
    Task(
        name="brand_prediction",
        meaning="Brands that the customer buys in the next {days} days if they buy a known brand.",
        kind=CONTRASTIVE,
        group=GROUP,
        eligibility=ACTIVE,
        labelled="customers who buy a known brand in the next {days} days",
        label=_brand_prediction,
        classes=_brand_names,
        fit=_brand_frequency,
        model=ModelSettings("infonce", HMM, 2.0, ("unified_hgcn",), out=128, reads=(Reads("spending_category"),)),
    ),
    Task(
        name="merchant_affinity",
        meaning="Share of the purchases of the next {days} days that the customer makes at their favourite merchant of "
        "the past half year if they buy.",
        unit="share of baskets",
        kind=REGRESSION,
        group=GROUP,
        eligibility=ACTIVE,
        labelled="customers with purchases in the last 180 and in the next {days} days",
        label=_merchant_affinity,
        model=ModelSettings("huber", HMM, 1.0, ("unified_hgcn", "temporal")),
    ),
)
