"""Tasks of the group engagement: ctr, cvr, engagement, uplift. Source: DATA §3, MODEL §2."""

from __future__ import annotations

import polars as pl

from feature_assets.labels import effects
from feature_assets.labels.context import Snapshot
from feature_assets.labels.kinds import BINARY, REGRESSION, UPLIFT
from feature_assets.labels.task import Eligibility, ModelSettings, Reads, Task, campaign_horizon

GROUP, HMM = "engagement", "journey"
CAMPAIGN_TABLES = ("campaigns", "campaign_events")


def _ctr(s: Snapshot) -> pl.Series:
    """A click on an exposure, among campaign kinds that have a click label."""
    clickable = ~pl.col("kind").is_in(list(s.dataset.click_kinds_off))
    clicked = pl.when(clickable.any()).then(pl.col("clicked").filter(clickable).any())
    return s.per_customer(s.exposures.group_by("customer_id").agg(clicked.alias("ctr")), "ctr")


def _cvr(s: Snapshot) -> pl.Series:
    return s.per_customer(s.exposures.group_by("customer_id").agg(pl.col("converted").any()), "converted")


def _engagement(s: Snapshot) -> pl.Series:
    return s.active_days.select(pl.col("days").cast(pl.Float64).log1p()).to_series()


def _active_day_before(s: Snapshot) -> pl.Series:
    return s.active_days["past_days"] > 0


TASKS = (
    Task(
        name="ctr",
        meaning="At least one click on a campaign in the next {days} days, among customers who see one.",
        kind=BINARY,
        group=GROUP,
        window=campaign_horizon,
        eligibility=Eligibility("customers who see a campaign that has a click label in the next {days} days"),
        label=_ctr,
        needs=CAMPAIGN_TABLES,
        model=ModelSettings("focal", HMM, 1.0, ("perslay", "temporal", "unified_hgcn"), more={"focal_alpha": 0.25}),
    ),
    Task(
        name="cvr",
        meaning="At least one conversion by a campaign in the next {days} days, among customers who see one.",
        kind=BINARY,
        group=GROUP,
        window=campaign_horizon,
        eligibility=Eligibility("customers who see a campaign in the next {days} days"),
        label=_cvr,
        needs=CAMPAIGN_TABLES,
        model=ModelSettings(
            "focal",
            HMM,
            1.5,
            ("perslay", "temporal", "unified_hgcn"),
            reads=(Reads("ctr", "sequential"),),
            more={"focal_alpha": 0.20},
        ),
    ),
    Task(
        name="engagement",
        meaning="Number of days with a purchase or a session in the next {days} days, on a log scale (log of 1 + "
        "days), among customers with such a day in the last {active} days.",
        unit="log1p days",
        kind=REGRESSION,
        group=GROUP,
        eligibility=Eligibility("customers with a purchase or a session in the last {active} days", _active_day_before),
        label=_engagement,
        model=ModelSettings("mse", HMM, 0.8, ("temporal",)),
    ),
    Task(
        name="uplift",
        meaning="Additional spend in the {effect} days from the start of a campaign if the customer receives it, among "
        "targets of a campaign that starts in the next {horizon} days.",
        unit="currency",
        kind=UPLIFT,
        group=GROUP,
        window=effects.window,
        eligibility=effects.ASSIGNED,
        label=effects.total,
        needs=CAMPAIGN_TABLES,
        default=False,
        model=ModelSettings("mse", HMM, 1.0),
    ),
)
