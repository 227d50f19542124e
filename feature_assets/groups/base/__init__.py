"""Base group, 238 columns from transactions: RFM 34, category mix 64, transaction statistics 80, temporal 60.

One module a part: `columns()` declares, `compute()` gives arrays in the same order. Fitted: the coarse categories by
training spend, the quintile edges, and the parameters of BG/NBD and Gamma–Gamma. Source: FEATURES §3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_assets.events.lines import top_by_spend
from feature_assets.groups.base import category_mix, rfm, temporal, transaction_stats
from feature_assets.groups.base.history import History
from feature_assets.schema import Column, SideInput
from feature_assets.state import GroupState, StateError

if TYPE_CHECKING:
    from feature_assets.data.tables import View


class BaseGroup:
    """The group `base`; see `schema.Group`."""

    name = "base"
    description = "Recency, frequency and spend, category mix, transaction statistics and rhythm of purchases"
    sources: tuple[str, ...] = ("customers", "transactions")
    needs: tuple[str, ...] = ()
    side_inputs: tuple[SideInput, ...] = ()

    def __init__(self) -> None:
        parts = (rfm.columns(), category_mix.columns(), transaction_stats.columns(), temporal.columns())
        self.columns: tuple[Column, ...] = tuple(column for part in parts for column in part)

    def fit(self, views: Sequence[View], upstream: Sequence[Mapping[str, pl.DataFrame]], seed: int) -> GroupState:
        """Fit on training dates; nothing here is random, so `seed` changes nothing."""
        del upstream, seed
        histories = [History.of(view) for view in sorted(views, key=lambda view: view.as_of)]
        return GroupState(rfm.fit(histories), {"categories": top_by_spend(views, "category_l1", category_mix.MOST)})

    def compute(self, view: View, state: GroupState | None, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """`customer_id` and the 238 columns as Float32, null where undefined, in the order of `view.customers`."""
        del upstream
        if state is None:
            raise StateError("group base needs its fitted state: fit it on the training dates first")
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
        series = [
            pl.Series(column.name, values.astype(np.float32), nan_to_null=True)
            for column, values in zip(self.columns, arrays, strict=True)
        ]
        return pl.DataFrame([view.customers["customer_id"], *series])


GROUP = BaseGroup()
