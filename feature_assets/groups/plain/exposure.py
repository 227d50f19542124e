"""Exposure: how often and how fast a customer answered the campaigns that reached them.

An exposure is a campaign that reached the customer, an answer a conversion. Source: FEATURES §3.2; DATA §3 (ctr, cvr).
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.campaigns import Exposures
from feature_assets.events.numbers import maximum, moments
from feature_assets.group import Column, FeatureGroup, Inputs, Values

CLICKS = (28, 84)


def _columns() -> tuple[Column, ...]:
    def column(name: str, meaning: str, unit: str, window: str = "all history") -> Column:
        return Column(f"exposure__{name}", meaning, unit, window, ("campaign_events",))

    return (
        column("clicked", "exposures with a click", "count"),
        column("converted", "exposures with a conversion", "count"),
        column("newest_clicked", "exposures of the day of the last one with a click", "count"),
        column("newest_converted", "exposures of the day of the last one with a conversion", "count"),
        column("unanswered_run", "exposures after the newest one that was answered", "count"),
        *(column(f"click_days_{w}d", "days with a click", "count", f"{w} days") for w in CLICKS),
        column("conversion_days", "days with a conversion", "count"),
        column("answer_wait", "mean days from an exposure to the first conversion", "days"),
    )


class Exposure(FeatureGroup):
    """Exposures to campaigns and their answers. Nothing is fitted."""

    name = "exposure"
    description = "How often and how fast a customer answered the campaigns that reached them"
    columns = _columns()
    sources = ("campaign_events",)

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        exposures, events, n = view.exposures, view.campaign_events, view.customers.height
        clicked, converted = exposures.clicked, exposures.converted
        newest = exposures.days_ago == _newest(exposures, np.ones_like(clicked), n)[exposures.row]
        answered = np.nan_to_num(_newest(exposures, converted, n), nan=np.inf)
        clicks, conversions = (events.of("event", kind).days_of() for kind in ("click", "conversion"))
        wait = exposures.days_ago[converted] - exposures.answered_ago[converted]
        columns = [
            _count(exposures, clicked, n),
            _count(exposures, converted, n),
            _count(exposures, newest & clicked, n),
            _count(exposures, newest & converted, n),
            _count(exposures, exposures.days_ago < answered[exposures.row], n),
            *(clicks.count(w) for w in CLICKS),
            conversions.count(),
            moments(exposures.row[converted], wait, n)[0],
        ]
        return Values(np.stack(columns, axis=1))


def _count(exposures: Exposures, chosen: np.ndarray, n: int) -> np.ndarray:
    return np.bincount(exposures.row[chosen], minlength=n).astype(np.float64)


def _newest(exposures: Exposures, chosen: np.ndarray, n: int) -> np.ndarray:
    """Days since the newest of the exposures `chosen`, float64 [n], NaN without one."""
    return -maximum(exposures.row[chosen], -exposures.days_ago[chosen].astype(np.float64), n)


GROUP = Exposure()
