"""Stages: which stages of life the next window can find a customer in.

The label life_stage rules most of its classes out by what is known before t; the columns say so once for each of them:
the network reads a class's own columns with one function for all (`FeatureGroup.columns_of_values`), and trees need not
find the edges of the label's definition. Source: DATA §3.
"""

from __future__ import annotations

import numpy as np

from feature_assets.data.horizon import CENSORED_DAYS
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, Values

_STAGES = {"new": ("new",), "inactive": ("returning",), "active": ("growing", "steady", "declining")}
"""Column → the stages that a purchase in the window can lead to where it is 1 (beside dormant, without a purchase)."""
_SINCE = "the days in which one counts as active"


class Stages(FeatureGroup):
    """Stages that are possible, and what is spent if nothing changes. Nothing is fitted."""

    name = "stages"
    description = "Stages of life that the next window can find"
    columns = (
        Column("stages__new", "whether the customer joined of late", "0/1", _SINCE),
        Column("stages__inactive", "whether a customer who is not new bought nothing of late", "0/1", _SINCE),
        Column("stages__active", "whether a customer who is not new bought of late", "0/1", _SINCE),
        Column(
            "stages__spend", "net spend of late (at least 0), for as many days as the horizon has", "currency", _SINCE
        ),
    )
    sources = ("transactions",)

    def columns_of_values(self, state: GroupState) -> dict[str, dict[str, str]]:  # noqa: ARG002
        return {stage: {"possible": f"stages__{name}"} for name, stages in _STAGES.items() for stage in stages}

    def _values(self, inputs: Inputs) -> Values:
        view = inputs.view
        days = view.dataset.active_days
        latest = min(days, view.history - CENSORED_DAYS)  # nobody is known to have joined in the first days of the data
        new = ~view.joined_days(latest + 1)[:, 0] if latest >= 0 else np.zeros(view.customers.height, dtype=np.bool_)
        bought = view.recent_purchases(days).count() > 0
        spend = np.maximum(view.net_spend(days), 0.0) * (view.dataset.horizon_days / days)
        return Values(np.stack([new, ~new & ~bought, ~new & bought, spend], axis=1).astype(np.float64))


GROUP = Stages()
