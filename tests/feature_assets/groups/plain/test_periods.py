"""Periods against loops over each customer's lines."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import Inputs
from feature_assets.groups.plain.periods import GROUP
from tests.deliveries import synthetic
from tests.feature_assets.groups.plain import by_hand as hand

PERIODS = range(1, 7)


def _period(customer: str, k: int) -> list[float]:
    """Spend of the purchase days of period k, newest period 1."""
    return [amount for ago, amount in hand.days(customer).items() if 28 * (k - 1) < ago <= 28 * k]


def _expected(customer: str) -> dict[str, float]:
    days, lines = hand.days(customer), hand.purchases(customer)
    sessions = {row["days_ago"] for row in hand.events("sessions")[customer]}
    refunds = [line for line in hand.lines()[customer] if line["kind"] == "refund"]
    known = [k for k in PERIODS if 28 * k <= hand.HISTORY]
    assert known == [1, 2, 3, 4, 5]
    spend = [sum(_period(customer, k)) for k in known]
    made: dict[str, float] = {}
    for w in (14, 28, 56, 84):
        made[f"purchase_days_{w}d"] = sum(ago <= w for ago in days)
    for w in (14, 28, 56):
        made[f"baskets_{w}d"] = len({line["basket_id"] for line in hand.within(lines, w)})
    for h in (7, 28, 84):
        made[f"purchase_days_half_{h}d"] = sum(2 ** (-ago / h) for ago in days)
    for h in (28, 84):
        made[f"amount_half_{h}d"] = sum(2 ** (-line["days_ago"] / h) * line["amount"] for line in lines)
    for k in (3, 4):
        made[f"purchase_days_period_{k}"] = len(_period(customer, k))
    for k in (3, 4):
        made[f"amount_period_{k}"] = sum(_period(customer, k))
    made |= {
        "amount_period_smallest": min(spend),
        "amount_period_median": median(spend),
        "amount_period_largest": max(spend),
        "active_periods": sum(len(_period(customer, k)) > 0 for k in known),
    }
    for w in (28, 84):
        made[f"active_days_{w}d"] = sum(ago <= w for ago in sessions | set(days))
    for w in (28, 84):
        made[f"refunds_{w}d"] = len(hand.within(refunds, w))
    for w in (28, 84):
        made[f"refunded_{w}d"] = sum(abs(line["amount"]) for line in hand.within(refunds, w))
    return made


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected)


@pytest.mark.parametrize(("history", "known"), [(20, 0), (28, 1), (84, 3), (400, 6)])
def test_periods_that_the_data_do_not_cover_are_missing(history: int, known: int) -> None:
    view = View(hand.tables(), synthetic.AS_OF)
    view.history = history
    values = GROUP._values(Inputs("periods", view, {}, None)).columns
    assert values is not None
    names = [column.name.removeprefix("periods__") for column in GROUP.columns]
    for k in (3, 4):
        assert np.isnan(values[:, names.index(f"amount_period_{k}")]).all() == (known < k)
    assert np.isnan(values[:, names.index("active_periods")]).all() == (known == 0)
    if known:
        assert np.nanmax(values[:, names.index("active_periods")]) <= known


def test_active_days_are_missing_without_sessions() -> None:
    whole = hand.tables()
    frames = {name: frame for name, frame in whole.frames.items() if name != "sessions"}
    frame = GROUP.compute(View(Tables(whole.dataset, frames), synthetic.AS_OF), None, {})
    assert frame["periods__active_days_28d"].null_count() == frame.height
    assert not math.isnan(frame["periods__purchase_days_28d"].to_numpy().max())
