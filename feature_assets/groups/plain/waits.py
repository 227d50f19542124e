"""Waits: how long a customer waits from one purchase day to the next, and what that says of the wait that goes on at t.

A wait ends on its later day. The wait since the last purchase day is not over: those of the past that lasted at least
as long are what it is compared with (the empirical residual life). Source: FEATURES §3.1; Cox (1962), Renewal Theory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_assets.events.numbers import maximum, moments, ratio, sum_at
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, Inputs, Values

RECENT, HABIT = 84, 168  # days within which waits of a window end
CLASSES = ((1, 1), (2, 3), (4, 6), (7, 13), (14, 27), (28, None))  # days from … to
LAST = ("last", "second last", "third last")
DUE = (1, 3, 7, 14, 28)


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, unit: str, window: str = "all history") -> Column:
        return Column(f"waits__{name}", meaning, unit, window)

    recent, habit = f"{RECENT} days", f"{HABIT} days"
    made = [
        column(f"mean_{RECENT}d", "mean wait between purchase days", "days", recent),
        column(f"std_{RECENT}d", "standard deviation (of the population) of the waits; from two on", "days", recent),
        column(f"shortest_{RECENT}d", "shortest wait", "days", recent),
        column(f"longest_{RECENT}d", "longest wait", "days", recent),
    ]
    made += [column(name.replace(" ", "_"), f"{name} wait", "days") for name in LAST]
    for low, high in CLASSES:
        label = f"{low}" if low == high else f"{low}_{high}" if high else f"{low}_more"
        text = f"of {low} day" if low == high else f"of {low} to {high} days" if high else f"of {low} days or more"
        made.append(column(f"count_{label}_{HABIT}d", f"waits {text}", "count", habit))
    as_long = "waits that lasted at least as long as the present one"
    made += [
        column(f"as_long_{HABIT}d", as_long, "count", habit),
        column(f"remaining_{HABIT}d", f"mean of what was left of the {as_long}", "days", habit),
    ]
    made += [
        column(f"due_{d}d_{HABIT}d", f"share of the {as_long} that ended less than {d} days later", "share", habit)
        for d in DUE
    ]
    return tuple(made)


class WaitsGroup(FeatureGroup):
    """Waits between purchase days. Nothing is fitted."""

    name = "waits"
    description = "Waits between purchase days: recent ones, counts by length, and the past of the present wait"
    columns = _columns()
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        waits = Waits.of(inputs.view)
        recent, habit = waits.ended(RECENT), waits.ended(HABIT)
        mean, deviation = moments(recent.row, recent.length, recent.customers)
        columns = [
            mean,
            deviation,
            -maximum(recent.row, -recent.length, recent.customers),
            maximum(recent.row, recent.length, recent.customers),
            *(waits.last(k) for k in range(len(LAST))),
            *(habit.count((habit.length >= a) & (habit.length <= (b or np.inf))) for a, b in CLASSES),
            *_as_long(habit),
        ]
        return Values(np.stack(columns, axis=1))


@dataclass(frozen=True)
class Waits:
    """W waits of n customers, those of a customer together, oldest first.

    Attributes:
        row: customer, int64 [W] ascending.
        length: days, float64 [W] ≥ 1.
        ended_ago: days from the wait's end to t, int64 [W] ≥ 1.
        present: days since the last purchase day, float64 [n], NaN without one.
    """

    row: np.ndarray
    length: np.ndarray
    ended_ago: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, view: View) -> Waits:
        """All waits before t."""
        days = view.purchase_days
        same = days.row[1:] == days.row[:-1]
        row, length = days.gaps()
        return cls(row, length, days.days_ago[1:][same].astype(np.int64), days.days_since())

    @property
    def customers(self) -> int:
        """n"""
        return len(self.present)

    def ended(self, days: int) -> Waits:
        """Those that ended in the last `days` days."""
        some = self.ended_ago <= days
        return Waits(self.row[some], self.length[some], self.ended_ago[some], self.present)

    def count(self, chosen: np.ndarray) -> np.ndarray:
        """Number of the waits of `chosen` [W], float64 [n]."""
        return np.bincount(self.row[chosen], minlength=self.customers).astype(np.float64)

    def last(self, back: int) -> np.ndarray:
        """Length of the newest wait (`back` 0) or of one before it, float64 [n], NaN without one."""
        start = np.searchsorted(self.row, np.arange(self.customers + 1))
        place = start[1:] - 1 - back
        result = np.full(self.customers, np.nan)
        there = place >= start[:-1]
        result[there] = self.length[place[there]]
        return result


def _as_long(waits: Waits) -> list[np.ndarray]:
    """Waits at least as long as the present one: their number, mean of what was left of them, and shares by when they
    ended; all but the number NaN without one."""
    left = waits.length - waits.present[waits.row]
    among = left >= 0
    number = waits.count(among)
    total = sum_at(waits.row[among], left[among], waits.customers)
    return [number, ratio(total, number), *(ratio(waits.count(among & (left < d)), number) for d in DUE)]


GROUP = WaitsGroup()
