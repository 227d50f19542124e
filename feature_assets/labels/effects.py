"""The effect of a campaign on spend: transformed outcomes, in total and by category. Source: DATA §3.

Customers are assigned at random, a share p to the campaign (w = 1) and the rest to its control group (w = 0). With net
spend y in the 28 days from the campaign's start and b a number known before it,

    z = (y − b) · (w − p) / (p (1 − p))

has the expectation E[y | campaign] − E[y | control] for every group of customers, whatever b is, because w is
independent of everything before the start. Here b is the customer's earlier net spend scaled to 28 days: it takes most
of the differences between customers out of z, whose variance a small control group would otherwise multiply (CUPED:
Deng et al., WSDM 2013).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.labels.assignments import assignments, spend_ahead, spend_before
from feature_assets.labels.constants import ACTIVE_DAYS, EFFECT_DAYS
from feature_assets.labels.context import Snapshot
from feature_assets.labels.task import Eligibility

ASSIGNED = Eligibility("targets, or members of the control group, of a campaign that starts in the next {horizon} days")


def window(dataset: DatasetConfig) -> int:
    """H days in which the campaign starts, and the days in which its effect counts."""
    return dataset.horizon_days + EFFECT_DAYS


def total(s: Snapshot) -> pl.Series:
    """Transformed outcome of net spend [N], in the currency."""
    assigned = assignments(s.tables, s.as_of)
    outcome = _beyond_baseline(s, assigned, None)[:, 0]
    return s.per_customer(assigned.select("customer", z=pl.Series(outcome * _weights(s, assigned))), "z")


def by_category(s: Snapshot) -> pl.Series:
    """Transformed outcomes of net spend by class of category_uplift, a list of K numbers a row [N]."""
    assigned = assignments(s.tables, s.as_of)
    outcome = _beyond_baseline(s, assigned, s.classes("category_uplift"))
    z = pl.Series(outcome * _weights(s, assigned)[:, None]).arr.to_list()
    return s.per_customer(assigned.select("customer", z=z), "z")


def _weights(s: Snapshot, assigned: pl.DataFrame) -> np.ndarray:
    """(w − p) / (p (1 − p)) of each assigned customer."""
    share = s.dataset.control_share
    if share is None:
        raise ValueError(
            f"data set {s.dataset.name!r} switches on an uplift task but does not state control_share, the share of "
            "the targets that is withheld at random; state it or take the task out of tasks_on"
        )
    return np.where(assigned["treated"].to_numpy(), 1.0 / (1.0 - share), -1.0 / share)


def _beyond_baseline(s: Snapshot, assigned: pl.DataFrame, classes: list[str] | None) -> np.ndarray:
    """y − b of each assigned customer [n, K]: by class, or in total (K = 1)."""
    past = spend_before(s.tables, s.as_of, ACTIVE_DAYS)
    ahead = spend_ahead(s.tables, s.as_of, window(s.dataset)).join(assigned, on="customer", how="inner")
    since = (pl.col("day") - pl.col("starts_on")).dt.total_days()
    ahead = ahead.filter(since.is_between(0, EFFECT_DAYS, closed="left"))
    baseline = _sums(past, assigned, classes) * (EFFECT_DAYS / ACTIVE_DAYS)
    return _sums(ahead, assigned, classes) - baseline


def _sums(lines: pl.DataFrame, assigned: pl.DataFrame, classes: list[str] | None) -> np.ndarray:
    """Net spend of each assigned customer by class [n, K], or in total [n, 1]; rounded, so that the order in which
    lines are added does not show."""
    names = [""] if classes is None else classes
    column = pl.lit("") if classes is None else pl.col("category_l1")
    cells = (
        lines.select("customer", "amount", name=column)
        .filter(pl.col("name").is_in(names))
        .group_by("customer", "name")
        .agg(pl.col("amount").sum().round(2))
        .join(assigned.select("customer", row=pl.int_range(pl.len())), on="customer", how="inner")
    )
    sums = np.zeros((assigned.height, len(names)))
    column_of = {name: k for k, name in enumerate(names)}
    sums[cells["row"].to_numpy(), [column_of[name] for name in cells["name"]]] = cells["amount"].to_numpy()
    return sums
