"""The effect of a campaign on spend: transformed outcomes, in total and by category. Source: DATA §3.

Customers are assigned at random, a share p to the campaign (w = 1) and the rest to its control group (w = 0). With net
spend y in the 28 days from the campaign's start and b a number known before it,

    z = (y − b) · (w − p) / (p (1 − p))

has the expectation E[y | campaign] − E[y | control] for every group of customers, whatever b is, because w is
independent of everything before the start. Here b is the customer's net spend of the 56 days before t, scaled to 28
days: it takes most of the differences between customers out of z, whose variance a small control group would otherwise
multiply (CUPED: Deng et al., WSDM 2013).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.events.numbers import sum_at
from feature_assets.labels.assignments import assignments, spend_before, spend_from
from feature_assets.labels.constants import EFFECT_DAYS
from feature_assets.labels.context import Snapshot

ASSIGNED = "targets, or members of the control group, of a campaign that starts in the next {horizon} days"
"""Which rows of the uplift tasks have a label."""


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
    assigned, classes = assignments(s.tables, s.as_of), s.classes("category_uplift")
    outcome = _beyond_baseline(s, assigned, classes) * _weights(s, assigned)[:, None]
    z = pl.Series(outcome, dtype=pl.Array(pl.Float64, len(classes))).arr.to_list()
    return s.per_customer(assigned.select("customer", z=z), "z")


def _weights(s: Snapshot, assigned: pl.DataFrame) -> np.ndarray:
    """(w − p) / (p (1 − p)) of each assigned customer [n]."""
    share = s.dataset.control_share
    if share is None:
        raise ValueError(
            f"data set {s.dataset.name!r} switches on an uplift task but does not state control_share, the share of "
            "the targets from whom a campaign is withheld at random; state it, or take the task out of tasks_on"
        )
    return np.where(assigned["treated"].to_numpy(), 1.0 / (1.0 - share), -1.0 / share)


def _beyond_baseline(s: Snapshot, assigned: pl.DataFrame, classes: list[str] | None) -> np.ndarray:
    """y − b of each assigned customer [n, K]: by class, or in total (K = 1)."""
    customer, starts = assigned["customer"].to_numpy(), assigned["starts_on"]
    days = s.dataset.active_days
    past = _sums(spend_before(s.tables, s.as_of, days), classes, s.tables.customers)
    outcome = past[customer] * -(EFFECT_DAYS / days)
    for start in starts.unique():
        rows = (starts == start).to_numpy()
        spend = _sums(spend_from(s.tables, start, EFFECT_DAYS), classes, s.tables.customers)
        outcome[rows] += spend[customer[rows]]
    return outcome


def _sums(lines: pl.DataFrame, classes: list[str] | None, customers: int) -> np.ndarray:
    """Net spend of each customer of the data set by class [C, K], or in total [C, 1]."""
    customer, amount = lines["customer"].to_numpy().astype(np.int64), lines["amount"].to_numpy()
    if classes is None:
        return sum_at(customer, amount, customers)[:, None]
    width = len(classes) + 1  # the last one: no class, or another
    names = pl.col("category_l1").replace_strict(classes, range(width - 1), default=width - 1, return_dtype=pl.Int64)
    of = lines.select(names).to_series().to_numpy()
    sums = sum_at(customer * width + of, amount, customers * width)
    return sums.reshape(customers, width)[:, :-1]
