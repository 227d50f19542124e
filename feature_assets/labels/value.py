"""Tasks of the group value: balance_util, channel, timing. Source: DATA §3, MODEL §2."""

from __future__ import annotations

from typing import Any

import polars as pl

from feature_assets.labels import facts
from feature_assets.labels.constants import TIMES
from feature_assets.labels.context import Snapshot, Training
from feature_assets.labels.kinds import MULTICLASS, REGRESSION
from feature_assets.labels.lifts import highest_lift
from feature_assets.labels.merging import BY_TIME
from feature_assets.labels.task import ACTIVE, BUYERS, Eligibility, ModelSettings, Task

GROUP, HMM = "value", "behavior"


def _balance_util(s: Snapshot) -> pl.Series:
    return s.per_customer(facts.limit_use(s.tables, s.as_of), "share")


def _timing(s: Snapshot) -> pl.Series:
    return s.purchases["timing"]


def _channel(s: Snapshot) -> pl.Series:
    """The channel of most of the customer's purchases (baskets), or the one with the highest lift: the share of the
    customer's purchase lines over the population's share."""
    classes = s.classes("channel")
    lift = s.dataset.channel_label == "lift"
    weight = pl.len() if lift else pl.col("basket_id").n_unique()
    counts = s.lines.filter(pl.col("channel").is_in(classes)).group_by("customer", "channel").agg(weight=weight)
    shares = s.state.channel_shares if lift else [1.0] * len(classes)
    return s.per_customer(highest_lift(counts, "channel", classes, shares), "class")


def _channels(training: Training) -> list[str]:
    return list(training.dataset.channels)


def _channel_shares(training: Training) -> dict[str, Any]:
    """Share of each channel among the purchase lines that state one, where the label is a lift over it."""
    if training.dataset.channel_label != "lift":
        return {}
    stated = training.lines["channel"].drop_nulls()
    counts = [int((stated == name).sum()) for name in training.dataset.channels]
    return {"channel_shares": [count / max(len(stated), 1) for count in counts]}


HAS_LIMIT = Eligibility(
    "customers with a statement that has a limit in the last {active} days", lambda past: past.has_limit
)

TASKS = (
    Task(
        name="balance_util",
        meaning="Mean share of the credit limit that is used, over the statements of the next {days} days.",
        unit="share of the limit",
        kind=REGRESSION,
        group=GROUP,
        eligibility=HAS_LIMIT,
        labelled="customers with a statement that has a limit in the next {days} days",
        label=_balance_util,
        needs=("balances",),
        model=ModelSettings("huber", HMM, 1.0, ("temporal",)),
    ),
    Task(
        name="channel",
        meaning="Channel that characterises the customer's purchases in the next {days} days if they buy.",
        kind=MULTICLASS,
        group=GROUP,
        eligibility=ACTIVE,
        labelled=BUYERS,
        label=_channel,
        classes=_channels,
        fit=_channel_shares,
        model=ModelSettings("nll", HMM, 0.8, ("temporal",), out=3),
    ),
    Task(
        name="timing",
        meaning="Weekday and part of the day (six hours each) of the next purchase if the customer buys in the next "
        "{days} days.",
        kind=MULTICLASS,
        group=GROUP,
        eligibility=ACTIVE,
        labelled=BUYERS,
        label=_timing,
        classes=TIMES,
        merging=BY_TIME,
        model=ModelSettings("nll", HMM, 0.8, ("temporal",), out=len(TIMES)),
    ),
)
