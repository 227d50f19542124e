"""Membership, 15 columns: points earned and redeemed.

Between two statements of a points account, an increase was earned and a decrease was redeemed.
Source: FEATURES §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.events.numbers import moments, ratio, slope, sum_at
from feature_assets.events.ragged import Events
from feature_assets.events.statements import MONTH, Holdings, Statements
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup


@dataclass(frozen=True)
class Points:
    accounts: Statements
    levels: list[np.ndarray]  # 6 months, newest first; 0 without an account, NaN before the data set began
    steps: Events  # statements with one before them
    change: np.ndarray  # of points since the statement before, one a step
    bought: Events | None
    held: Holdings | None

    @property
    def earned(self) -> np.ndarray:
        return np.maximum(self.change, 0.0)

    @property
    def redeemed(self) -> np.ndarray:
        return np.maximum(-self.change, 0.0)

    @property
    def redemptions(self) -> Events:
        return self.steps.where(self.change < 0)


def _read(inputs: Inputs) -> Points:
    view = inputs.view
    accounts = view.statements.of("points")
    steps, change = accounts.steps()
    return Points(
        accounts,
        accounts.levels_or_zero(6),
        steps,
        change,
        view.recent_purchases(364) if view.has("transactions") else None,
        view.holdings.of("membership") if view.has("holdings") else None,
    )


def _redeemed_share(p: Points) -> np.ndarray:
    return ratio(p.steps.total(p.redeemed), p.steps.total(p.earned))


def _earned_variation(p: Points) -> np.ndarray:
    inside = p.steps.days_ago <= 372
    mean, deviation = moments(p.steps.row[inside], p.earned[inside], p.steps.customers)
    return ratio(deviation, mean)


def _points_per_spend(p: Points) -> np.ndarray:
    assert p.bought is not None
    spend = sum_at(p.bought.row, p.bought.values("amount"), p.bought.customers)
    return ratio(p.steps.total(p.earned, 364), spend)


def _share_of_peak(p: Points) -> np.ndarray:
    peak = np.zeros(p.accounts.events.customers)
    np.fmax.at(peak, p.accounts.events.row, p.accounts.balance)
    return ratio(p.levels[0], peak)


def _tenure(p: Points) -> np.ndarray:
    assert p.held is not None
    return p.held.least(np.where(p.held.open, p.held.age, np.nan))


_ALL = "all history"
_MEASURES: tuple[Measure[Points], ...] = (
    Measure("points", "points now; 0 without an account", "points", _ALL, lambda p: p.levels[0]),
    *(
        Measure(
            f"change_{MONTH * m}d",
            "points now less points then",
            "points",
            f"{MONTH * m} days",
            lambda p, m=m: p.levels[0] - p.levels[m],  # type: ignore[misc]
        )
        for m in (1, 3)
    ),
    Measure("earned_93d", "points earned", "points", "93 days", lambda p: p.steps.total(p.earned, 93)),
    Measure("earned_372d", "points earned", "points", "372 days", lambda p: p.steps.total(p.earned, 372)),
    Measure("redeemed_372d", "points redeemed", "points", "372 days", lambda p: p.steps.total(p.redeemed, 372)),
    Measure("redeemed_share", "points redeemed over points earned", "ratio", _ALL, _redeemed_share),
    Measure(
        "redemptions_372d", "statements with a redemption", "count", "372 days", lambda p: p.redemptions.count(372)
    ),
    Measure(
        "days_since_redemption",
        "days since the last statement with a redemption",
        "days",
        _ALL,
        lambda p: p.redemptions.days_since(),
    ),
    Measure(
        "earned_variation_372d",
        "coefficient of variation of the points earned between statements; from two on",
        "ratio",
        "372 days",
        _earned_variation,
    ),
    Measure(
        "points_per_spend_364d",
        "points earned a unit of currency spent",
        "points",
        "364 days",
        _points_per_spend,
        ("transactions",),
    ),
    Measure("share_of_peak", "points now over the most that there ever were", "share", _ALL, _share_of_peak),
    Measure(
        "growth_186d",
        "least-squares slope of the log points, a month",
        "log ratio",
        "186 days",
        lambda p: np.where(p.accounts.accounts() > 0, slope([np.log1p(np.maximum(v, 0.0)) for v in p.levels]), np.nan),
    ),
    Measure(
        "idle_share_372d",
        "share of statements without a change",
        "share",
        "372 days",
        lambda p: ratio(p.steps.where(p.change == 0).count(372), p.steps.count(372)),
    ),
    Measure("tenure", "days since the programme was joined", "days", _ALL, _tenure, ("holdings",)),
)

GROUP = MeasuredGroup(
    "membership",
    "Points of the membership programme: level, earning, redemption",
    ("balances",),
    _MEASURES,
    _read,
)
