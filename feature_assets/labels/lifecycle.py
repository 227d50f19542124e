"""Tasks of the group lifecycle: churn, retention, life_stage, ltv. Source: DATA §3, MODEL §2."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.data.horizon import CENSORED_DAYS, LONG_WINDOWS
from feature_assets.labels.constants import STAGES
from feature_assets.labels.context import Snapshot, Training
from feature_assets.labels.kinds import BINARY, MULTICLASS, REGRESSION
from feature_assets.labels.lifts import index_of
from feature_assets.labels.natural import CURRENCY
from feature_assets.labels.task import ACTIVE, ModelSettings, Reads, Task, three_horizons

GROUP, HMM = "lifecycle", "lifecycle"


def _churn(s: Snapshot) -> pl.Series:
    return ~s.purchases["bought_0"]


def _retention(s: Snapshot) -> pl.Series:
    return s.purchases.select(pl.all_horizontal(f"bought_{k}" for k in range(LONG_WINDOWS))).to_series()


def _ltv(s: Snapshot) -> pl.Series:
    return s.purchases.select(pl.col("spend_long").clip(0.0).log1p()).to_series()


def _spend_ratio(dataset: DatasetConfig) -> pl.Expr:
    """Spend in the window over the spend that the active days before t let expect for H days."""
    return pl.col("spend") / (pl.col("spend_past") * (dataset.horizon_days / dataset.active_days))


def _life_stage(s: Snapshot) -> pl.Series:
    """The stage of every customer, the first that applies:

    - dormant: no purchase in [t, t + H);
    - new: joined in the 56 days (`active_days`) before t, and not within the first 28 days of the data, when joining
      is not observed;
    - returning: no purchase in these 56 days;
    - growing, declining: spend in the window over the spend expected from these 56 days is at least the upper, below
      the lower edge (nothing spent in them: growing);
    - steady: between the edges.
    """
    low, high = s.state.stage_edges
    observed = s.dataset.covers_from + timedelta(days=CENSORED_DAYS)
    joined = pl.col("joined_on")
    ratio = _spend_ratio(s.dataset)
    stage = (
        pl.when(~pl.col("bought_0"))
        .then(pl.lit("dormant"))
        .when((joined >= s.as_of - timedelta(days=s.dataset.active_days)) & (joined >= observed))
        .then(pl.lit("new"))
        .when(~pl.col("active"))
        .then(pl.lit("returning"))
        .when((pl.col("spend_past") <= 0) | (ratio >= high))
        .then(pl.lit("growing"))
        .when(ratio < low)
        .then(pl.lit("declining"))
        .otherwise(pl.lit("steady"))
    )
    return s.purchases.select(index_of(stage, STAGES)).to_series()


def _stage_edges(training: Training) -> dict[str, Any]:
    around = training.purchases
    compared = around.filter(pl.col("active") & pl.col("bought_0") & (pl.col("spend_past") > 0))
    if compared.is_empty():
        return {}
    ratio = compared.select(_spend_ratio(training.dataset)).to_series().to_numpy()
    low, high = np.quantile(ratio, [1 / 3, 2 / 3])
    return {"stage_edges": (float(low), float(high))}


TASKS = (
    Task(
        name="churn",
        meaning="No purchase in the next {days} days.",
        kind=BINARY,
        group=GROUP,
        eligibility=ACTIVE,
        label=_churn,
        buying=lambda model, days: 1.0 - model.chance(days),
        model=ModelSettings("focal", HMM, 1.2, ("perslay", "temporal"), more={"focal_alpha": 0.60}),
    ),
    Task(
        name="retention",
        meaning="At least one purchase in each of the next three periods of {horizon} days.",
        kind=BINARY,
        group=GROUP,
        window=three_horizons,
        eligibility=ACTIVE,
        label=_retention,
        buying=lambda model, days: model.chance(days // LONG_WINDOWS, LONG_WINDOWS),
        model=ModelSettings(
            "focal",
            HMM,
            1.0,
            ("perslay", "temporal"),
            reads=(Reads("churn", "inverse"),),
            more={"focal_alpha": 0.20},
        ),
    ),
    Task(
        name="life_stage",
        meaning="Stage of the customer's life cycle, from the purchases and spend of the next {days} days compared "
        "with the last {active} days.",
        kind=MULTICLASS,
        group=GROUP,
        label=_life_stage,
        classes=STAGES,
        fit=_stage_edges,
        model=ModelSettings("nll", HMM, 0.8, ("perslay", "temporal"), out=len(STAGES)),
    ),
    Task(
        name="ltv",
        meaning="Spend less refunds over the next {days} days, on a log scale (log of 1 + amount).",
        unit="log1p of the currency",
        natural=CURRENCY,
        kind=REGRESSION,
        group=GROUP,
        window=three_horizons,
        label=_ltv,
        buying=lambda model, days: np.log1p(model.spend(days)),
        model=ModelSettings("huber", HMM, 1.5, ("temporal", "deepfm"), reads=(Reads("cvr"),)),
    ),
)
