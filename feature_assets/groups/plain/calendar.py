"""Calendar: on which weekdays and in which parts of the day a customer buys, as numbers of baskets.

Parts are those of 6 hours, local. A basket counts where its first line lies. Source: FEATURES §3.1; DATA §3 (timing).
"""

from __future__ import annotations

import numpy as np

from feature_assets.group import Column, FeatureGroup, Inputs, Values

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS = 6
PARTS = 24 // HOURS
RECENT, HABIT = 28, 168


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, days: int) -> Column:
        return Column(f"calendar__{name}_{days}d", meaning, "count", f"{days} days")

    def hours(part: int) -> str:
        return f"from {HOURS * part} to {HOURS * (part + 1)} o'clock"

    made = [column(day.lower(), f"baskets on a {day}", RECENT) for day in WEEKDAYS]
    made += [column(f"part_{k + 1}", f"baskets {hours(k)}", RECENT) for k in range(PARTS)]
    made += [
        column(f"{day.lower()}_part_{k + 1}", f"baskets on a {day} {hours(k)}", HABIT)
        for day in WEEKDAYS
        for k in range(PARTS)
    ]
    return tuple(made)


class Calendar(FeatureGroup):
    """Baskets by weekday and part of the day. Nothing is fitted."""

    name = "calendar"
    description = "Baskets by weekday and by part of the day, and by both"
    columns = _columns()
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        baskets = inputs.view.baskets(HABIT)
        weekday = baskets.weekday()
        part = np.floor(baskets.values("hour") / HOURS).astype(np.int64)
        habit = baskets.table(weekday * PARTS + part, len(WEEKDAYS) * PARTS)
        last = baskets.days_ago <= RECENT
        recent = baskets.where(last)
        by_weekday = recent.table(weekday[last], len(WEEKDAYS))
        return Values(np.concatenate([by_weekday, recent.table(part[last], PARTS), habit], axis=1))


GROUP = Calendar()
