"""Tasks of the group engagement: ctr, cvr, engagement, uplift. Source: DATA §3, MODEL §2."""

from __future__ import annotations

import polars as pl

from feature_assets.labels import effects
from feature_assets.labels.context import Snapshot
from feature_assets.labels.kinds import BINARY, REGRESSION, UPLIFT
from feature_assets.labels.natural import DAYS
from feature_assets.labels.past import Past
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
    return s.active_days.cast(pl.Float64).log1p()


def _in_campaign_with_clicks(past: Past) -> pl.Series:
    return past.in_campaign(without=past.view.dataset.click_kinds_off)


IN_CAMPAIGN = Eligibility(
    "members of a campaign known before the as-of date and not over then", Past.in_campaign, withheld=True
)
IN_CAMPAIGN_WITH_CLICKS = Eligibility(
    "members of a campaign with a click label, known before the as-of date and not over then",
    _in_campaign_with_clicks,
    withheld=True,
)
HAS_ACTIVE_DAY = Eligibility(
    "customers with a purchase or a session in the last {active} days", lambda past: past.active
)

TASKS = (
    Task(
        name="ctr",
        meaning="At least one click on a campaign in the next {days} days if the customer is exposed to one.",
        kind=BINARY,
        group=GROUP,
        window=campaign_horizon,
        eligibility=IN_CAMPAIGN_WITH_CLICKS,
        labelled="customers who see a campaign that has a click label in the next {days} days",
        label=_ctr,
        needs=CAMPAIGN_TABLES,
        model=ModelSettings("focal", HMM, 1.0, ("perslay", "temporal", "unified_hgcn"), more={"focal_alpha": 0.25}),
    ),
    Task(
        name="cvr",
        meaning="At least one conversion by a campaign in the next {days} days if the customer is exposed to one.",
        kind=BINARY,
        group=GROUP,
        window=campaign_horizon,
        eligibility=IN_CAMPAIGN,
        labelled="customers who see a campaign in the next {days} days",
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
        "days).",
        unit="log1p days",
        natural=DAYS,
        kind=REGRESSION,
        group=GROUP,
        eligibility=HAS_ACTIVE_DAY,
        label=_engagement,
        model=ModelSettings("mse", HMM, 0.8, ("temporal",)),
    ),
    Task(
        name="uplift",
        meaning="Additional spend in the {effect} days from the start of a campaign if the customer receives it, for a "
        "campaign that starts in the next {horizon} days.",
        unit="currency",
        kind=UPLIFT,
        group=GROUP,
        window=effects.window,
        labelled=effects.ASSIGNED,
        label=effects.total,
        needs=CAMPAIGN_TABLES,
        default=False,
        model=ModelSettings("mse", HMM, 1.0),
    ),
)
