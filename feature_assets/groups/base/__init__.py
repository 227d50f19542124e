"""Base group, 238 columns from transactions: RFM 34, category mix 64, transaction statistics 80, temporal 60.

Each part is a module whose `columns()` declares its columns and whose `compute()` returns their values in the same
order. Source: FEATURES §3.1.
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.purchases import top_by_spend
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values
from feature_assets.groups.base import category_mix, rfm, temporal, transaction_stats
from feature_assets.groups.base.history import History


class BaseGroup(FeatureGroup):
    """The group `base`. Fitted: coarse categories by spend, quintile edges, parameters of BG/NBD and Gamma–Gamma."""

    name = "base"
    description = "Recency, frequency and spend, category mix, transaction statistics and rhythm of purchases"
    sources = ("customers", "transactions")

    def __init__(self) -> None:
        parts = (rfm.columns(), category_mix.columns(), transaction_stats.columns(), temporal.columns())
        self.columns: tuple[Column, ...] = tuple(column for part in parts for column in part)

    def _learn(self, training: TrainingInputs) -> GroupState:
        views = training.views
        histories = [History.of(view) for view in sorted(views, key=lambda view: view.as_of)]
        return GroupState(rfm.fit(histories), {"categories": top_by_spend(views, "category_l1", category_mix.MOST)})

    def columns_of_values(self, state: GroupState) -> dict[str, dict[str, str]]:
        return {
            name: category_mix.columns_of(k)
            for k, name in enumerate(state.meta["categories"][: category_mix.TOP], start=1)
        }

    def _values(self, inputs: Inputs) -> Values:
        """The 238 columns, NaN where undefined."""
        view, state = inputs.view, inputs.state
        history = History.of(view)
        mix = category_mix.compute(history, list(state.meta["categories"]))
        if not view.has("products"):  # absent, not zero
            mix = [np.full(history.customers, np.nan)] * len(mix)
        arrays = [
            *rfm.compute(history, state.arrays),
            *mix,
            *transaction_stats.compute(history),
            *temporal.compute(history),
        ]
        return Values(np.stack(arrays).T)


GROUP = BaseGroup()
