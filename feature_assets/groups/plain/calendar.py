"""Calendar: on which weekdays and in which parts of the day a customer buys, as numbers of baskets.

Parts are those of 6 hours, local. A basket counts where its first line lies. Source: FEATURES §3.1; DATA §3 (timing).
"""

from __future__ import annotations

import numpy as np

from feature_assets.group import Column, FeatureGroup, Inputs, Values

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS = 6
PARTS = 24 // HOURS
DAYS = 168


def _columns() -> tuple[Column, ...]:
    return tuple(
        Column(
            f"calendar__{day.lower()}_part_{k + 1}_{DAYS}d",
            f"baskets on a {day} from {HOURS * k} to {HOURS * (k + 1)} o'clock",
            "count",
            f"{DAYS} days",
        )
        for day in WEEKDAYS
        for k in range(PARTS)
    )


class Calendar(FeatureGroup):
    """Baskets by weekday and part of the day. Nothing is fitted."""

    name = "calendar"
    description = "Baskets by weekday and part of the day"
    columns = _columns()
    sources = ("transactions",)

    def _values(self, inputs: Inputs) -> Values:
        baskets = inputs.view.baskets(DAYS)
        part = np.floor(baskets.values("hour") / HOURS).astype(np.int64)
        return Values(baskets.table(baskets.weekday() * PARTS + part, len(WEEKDAYS) * PARTS))


GROUP = Calendar()
