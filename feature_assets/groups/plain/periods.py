"""Periods: purchase days, baskets and spend of the last weeks, and of each 28 days before t.

Windows and periods of 28 days are those of the labels (H = 28, and three of them in a row). A period of which the data
set does not know every day is missing, not empty; one in which a customer had not joined yet is empty.
Source: FEATURES §2, §3.1.
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.ragged import Events
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, Inputs, Values

DAYS = (14, 28, 56, 84)  # of purchase days; the base group has baskets of 7, 30, 90, 180 and 365 days
BASKETS = (14, 28, 56)
DAY_HALVES, AMOUNT_HALVES = (7, 28, 84), (28, 84)  # days in which a purchase day or an amount loses half of its weight
PERIOD, PERIODS = 28, 6
SINGLE = (3, 4)  # periods with columns of their own; the newer ones are the windows of 28 and 56 days
ACTIVE = (28, 84)
REFUNDS = (28, 84)


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, unit: str, window: str, *more: str) -> Column:
        return Column(f"periods__{name}", meaning, unit, window, ("transactions", *more))

    made = [column(f"purchase_days_{w}d", "days with a purchase", "count", f"{w} days") for w in DAYS]
    made += [column(f"baskets_{w}d", "baskets", "count", f"{w} days") for w in BASKETS]
    made += [
        column(
            f"purchase_days_half_{h}d", f"purchase days, each halved every {h} days", "weighted count", "all history"
        )
        for h in DAY_HALVES
    ]
    made += [
        column(f"amount_half_{h}d", f"spend, each purchase halved every {h} days", "weighted currency", "all history")
        for h in AMOUNT_HALVES
    ]
    for what, meaning, unit in (("purchase_days", "days with a purchase", "count"), ("amount", "spend", "currency")):
        made += [
            column(
                f"{what}_period_{k}",
                f"{meaning}, {PERIOD * (k - 1) + 1} to {PERIOD * k} days before t",
                unit,
                f"{PERIOD * k} days",
            )
            for k in SINGLE
        ]
    window = f"{PERIOD * PERIODS} days"
    made += [
        column(
            f"amount_period_{name}", f"{name} spend of the last {PERIODS} periods of {PERIOD} days", "currency", window
        )
        for name in ("smallest", "median", "largest")
    ]
    made.append(column("active_periods", f"periods of {PERIOD} days, of {PERIODS}, with a purchase", "count", window))
    made += [
        column(f"active_days_{w}d", "days with a session or a purchase", "count", f"{w} days", "sessions")
        for w in ACTIVE
    ]
    made += [column(f"refunds_{w}d", "refunds", "count", f"{w} days", "refunds") for w in REFUNDS]
    made += [column(f"refunded_{w}d", "amount refunded", "currency", f"{w} days", "refunds") for w in REFUNDS]
    return tuple(made)


class Periods(FeatureGroup):
    """Counts and amounts by window and by period of 28 days. Nothing is fitted."""

    name = "periods"
    description = "Purchase days, baskets and spend by window and by period of 28 days"
    columns = _columns()
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        days = view.purchase_days
        blocks = [
            days.windows(DAYS).sums(),
            view.baskets(BASKETS[-1]).windows(BASKETS).sums(),
            *(halved(days, h)[:, None] for h in DAY_HALVES),
            *(halved(days, h, days.amount)[:, None] for h in AMOUNT_HALVES),
            _by_period(view),
            _active(view),
            _refunds(view),
        ]
        return Values(np.concatenate(blocks, axis=1))


def halved(events: Events, half_life: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Sum of `weights` [M] (or number of events), each times 2^(−days ago / half-life): float64 [customers]."""
    fade = np.exp2(-np.arange(events.days_ago.max(initial=0) + 1) / half_life)[events.days_ago]
    return events.total(fade if weights is None else fade * weights)


def period_of(events: Events) -> np.ndarray:
    """Period of each event, int64 [M]: 0 for the last 28 days, `PERIODS` for all that are older than the last one."""
    return np.minimum((events.days_ago.astype(np.int64) - 1) // PERIOD, PERIODS)


def _by_period(view: View) -> np.ndarray:
    """[customers, 8]: purchase days and spend of single periods, the smallest, median and largest spend, and the
    number of periods with a purchase."""
    days, covered = view.purchase_days, min(view.history // PERIOD, PERIODS)
    period = period_of(days)
    count, amount = (days.table(period, PERIODS + 1, weights)[:, :PERIODS] for weights in (None, days.amount))
    count[:, covered:], amount[:, covered:] = np.nan, np.nan
    single = [k - 1 for k in SINGLE]
    blocks = [count[:, single], amount[:, single], np.full((days.customers, 4), np.nan)]
    if covered:
        complete = np.sort(amount[:, :covered], axis=1)
        middle = (complete[:, (covered - 1) // 2] + complete[:, covered // 2]) / 2
        some = (count[:, :covered] > 0).sum(axis=1).astype(np.float64)
        blocks[2] = np.stack([complete[:, 0], middle, complete[:, -1], some], axis=1)
    return np.concatenate(blocks, axis=1)


def _active(view: View) -> np.ndarray:
    """[customers, 2]: days with a session or a purchase; NaN without a table of sessions."""
    n, longest = view.customers.height, ACTIVE[-1]
    if not view.has("sessions"):
        return np.full((n, len(ACTIVE)), np.nan)
    on = np.zeros((n, longest + 1), dtype=np.bool_)
    for events in (view.purchase_days, view.sessions):
        recent = events.days_ago <= longest
        on[events.row[recent], events.days_ago[recent]] = True
    return np.stack([on[:, : w + 1].sum(axis=1) for w in ACTIVE], axis=1).astype(np.float64)


def _refunds(view: View) -> np.ndarray:
    """[customers, 4]: refunds and what they gave back."""
    refunds = view.flows.of("kind", "refund")
    windows = refunds.windows(REFUNDS)
    return np.concatenate([windows.sums(), windows.sums(np.abs(np.nan_to_num(refunds.values("amount"))))], axis=1)


GROUP = Periods()
