"""Overseas, 6 columns: purchases abroad and trips.

A trip is a run of days with a purchase abroad, at most `APART` days from one to the next. Source: FEATURES §3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.events.numbers import moments, ratio
from feature_assets.events.ragged import Events
from feature_assets.group import Inputs
from feature_assets.groups.measures import Measure, MeasuredGroup

APART = 7  # days


@dataclass(frozen=True)
class Abroad:
    bought: Events
    spend: np.ndarray  # everywhere, of the last 364 days

    def trips(self) -> tuple[Events, np.ndarray]:
        """First day of each trip, and the days from it to the last one, counting both."""
        days = self.bought.days_of()
        gap = np.zeros(len(days.row), dtype=np.int64)
        gap[1:] = days.days_ago[:-1] - days.days_ago[1:]
        first = np.ones(len(days.row), dtype=bool)
        first[1:] = (days.row[1:] != days.row[:-1]) | (gap[1:] > APART)
        start = np.flatnonzero(first)
        last = np.append(start, len(days.row))[1:] - 1
        return days.where(first), (days.days_ago[start] - days.days_ago[last] + 1).astype(np.float64)


def _read(inputs: Inputs) -> Abroad:
    view = inputs.view
    bought = view.purchases
    return Abroad(bought.where(bought.values("is_overseas") > 0), view.recent_purchases(364).sum_of("amount"))


def _trip_length(a: Abroad) -> np.ndarray:
    trips, length = a.trips()
    return moments(trips.row, length, trips.customers)[0]


_MEASURES: tuple[Measure[Abroad], ...] = (
    Measure("spend_364d", "spent abroad", "currency", "364 days", lambda a: a.bought.sum_of("amount", 364)),
    Measure(
        "spend_share_364d",
        "share of all spend",
        "share",
        "364 days",
        lambda a: ratio(a.bought.sum_of("amount", 364), a.spend),
    ),
    Measure("purchases_91d", "purchase lines abroad", "count", "91 days", lambda a: a.bought.count(91)),
    Measure("days_since_purchase", "days since the last one", "days", "all history", lambda a: a.bought.days_since()),
    Measure("trips_364d", "trips that began", "count", "364 days", lambda a: a.trips()[0].count(364)),
    Measure("trip_length", "mean days of a trip", "days", "all history", _trip_length),
)

GROUP = MeasuredGroup("overseas", "Purchases abroad: spend, share, recency, trips", ("overseas",), _MEASURES, _read)
