"""The purchases of each customer as read by the parts of the base group: lines, visits (baskets) and days, and refunds.

No statistic is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.data.codes import Codes
from feature_assets.events.numbers import month_place
from feature_assets.events.ragged import Events, Runs
from feature_assets.events.view import View
from feature_assets.kernels.appearances import appearances

_DAY = np.uint64(0xD6E8FEB86659FD93)  # odd: spreads the days over 64 bits


@dataclass(frozen=True)
class History:
    """Purchases of the n customers of a View before the as-of date.

    Attributes:
        tenure: [n] days from the first day of which the data tells (joining, or the start of the data) to t.
        lines: one event a purchase line; `line_amount` what was paid, `line_discount` taken off it, `line_visit` the
            visit it belongs to.
        visits: one event a basket, with the columns of its first line; `visit_amount` its sum, `month_day` from 0,
            `month_days` of its month, and the day of `days` that it belongs to, `visit_day`.
        days: one event a day with a purchase; `day_amount` and `day_visits` of it.
        refunds: one event a refund line; `refund_amount` ≥ 0.
    """

    tenure: np.ndarray
    lines: Events
    line_amount: np.ndarray
    line_discount: np.ndarray
    line_visit: np.ndarray
    visits: Runs
    visit_amount: np.ndarray
    visit_day: np.ndarray
    month_day: np.ndarray
    month_days: np.ndarray
    days: Runs
    day_amount: np.ndarray
    day_visits: np.ndarray
    refunds: Events
    refund_amount: np.ndarray

    @property
    def customers(self) -> int:
        """Number of customers n."""
        return self.lines.customers

    def line_codes(self, name: str) -> Codes:
        """A text column of the lines."""
        return self.lines.columns.codes(name)

    @classmethod
    def of(cls, view: View) -> History:
        """The history that `view` knows."""
        lines = view.purchases
        visit = _visits(lines)
        if np.any(np.diff(visit) < 0):  # lines of two visits lie mixed at one instant
            order = np.argsort(visit, kind="stable")
            lines, visit = lines.take(order), visit[order]
        visits = lines.runs(visit)
        days = visits.runs(visits.days_ago)
        amount = lines.values("amount")
        visit_amount = visits.sums(amount)
        month_day, month_days = month_place(lines.as_of - visits.days_ago.astype(np.int64))
        refunds = view.flows.of("kind", "refund")
        return cls(
            tenure=view.observed_days.astype(np.float64),
            lines=lines,
            line_amount=amount,
            line_discount=np.nan_to_num(lines.values("discount")),
            line_visit=visit,
            visits=visits,
            visit_amount=visit_amount,
            visit_day=days.run_of_line(),
            month_day=month_day,
            month_days=month_days,
            days=days,
            day_amount=days.sums(visit_amount),
            day_visits=np.diff(days.line).astype(np.float64),
            refunds=refunds,
            refund_amount=np.abs(refunds.values("amount")),
        )


def _visits(lines: Events) -> np.ndarray:
    """Visit number of each line, by first appearance: a visit is a customer's lines of one basket on one day."""
    day = lines.days_ago.astype(np.uint64) * _DAY  # wraps round
    known = np.ones(len(lines), dtype=np.bool_)
    return appearances(lines.start, lines.identities("basket_id") ^ day, known)[0]
