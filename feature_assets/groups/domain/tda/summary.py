"""Groups tda_short (90 days, H0 and H1) and tda_long (365 days, H0 to H2): statistics, and the diagrams themselves.

A customer with fewer than two different points in the window has null columns and a mask that is false throughout.
`tda_global` holds six cross-dimension statistics for each of the short window's two dimensions and the long window's
three (zeros for a window without a diagram); it is null where the long window has none. Source: FEATURES §3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from feature_assets.data.tables import View
from feature_assets.events.lines import to_frame, to_lists
from feature_assets.groups.domain.tda.diagrams import LONG, SHORT, Cut, diagrams, sample_diagrams
from feature_assets.groups.domain.tda.points import fit_scales
from feature_assets.groups.domain.tda.statistics import ACROSS, H0, HIGHER, across, fit_levels, statistics
from feature_assets.schema import Column, SideInput
from feature_assets.state import GroupState

_MOST_FITTED = 2_000  # customers, over all dates, whose diagrams the levels are fitted on
PAIR = ("birth", "death", "dimension")


def _columns(cut: Cut) -> tuple[Column, ...]:
    return tuple(
        Column(
            f"tda_{cut.name}__h{d}_{measure}_{cut.oldest}d",
            f"H{d} of the purchases' and sessions' cloud: {meaning}",
            unit,
            f"{cut.oldest} days",
        )
        for d in range(cut.max_dimension + 1)
        for measure, meaning, unit in (H0 if d == 0 else HIGHER)
    )


def _side_inputs(cut: Cut) -> tuple[SideInput, ...]:
    meaning = f"persistence pairs of {cut.oldest} days, by dimension, the most persistent first"
    return (
        SideInput(f"tda_{cut.name}", meaning, (cut.room, 3), pl.Float32, PAIR),
        SideInput(f"tda_{cut.name}_mask", "which pairs are real", (cut.room,), pl.Boolean),
    )


class TdaShort:
    """Statistics and diagram of the last 90 days; fitted: the points' scales, the population's levels."""

    name = "tda_short"
    description = "Persistent homology (H0, H1) of the purchases and sessions of 90 days"
    columns = _columns(SHORT)
    side_inputs = _side_inputs(SHORT)
    sources: tuple[str, ...] = ("transactions",)
    needs: tuple[str, ...] = ()

    def fit(self, views: Sequence[View], upstream: Sequence[Mapping[str, pl.DataFrame]], seed: int) -> GroupState:
        """Arrays `scale` [6] and `levels` [dimensions, 2], and the categories in the order of their rank."""
        del upstream, seed
        return _fit(views, SHORT)

    def compute(self, view: View, state: GroupState | None, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """24 Float32 columns, tda_short List(Float32)[200·3] row-major, tda_short_mask List(Boolean)[200]."""
        del upstream
        return _compute(view, state, SHORT, self.columns)


class TdaLong:
    """Statistics and diagram of the last 365 days, and the cross-dimension statistics of both windows."""

    name = "tda_long"
    description = "Persistent homology (H0, H1, H2) of the purchases and sessions of 365 days"
    columns = _columns(LONG)
    side_inputs = (
        *_side_inputs(LONG),
        SideInput(
            "tda_global",
            "cross-dimension statistics of the short (H0, H1) and the long (H0, H1, H2) diagram",
            (30,),
            pl.Float32,
            tuple(f"{c.name}_h{d}_{m}" for c in (SHORT, LONG) for d in range(c.max_dimension + 1) for m in ACROSS),
        ),
    )
    sources: tuple[str, ...] = ("transactions",)
    needs: tuple[str, ...] = ()

    def fit(self, views: Sequence[View], upstream: Sequence[Mapping[str, pl.DataFrame]], seed: int) -> GroupState:
        """Arrays `scale` [6] and `levels` [dimensions, 2], and the categories in the order of their rank."""
        del upstream, seed
        return _fit(views, LONG)

    def compute(self, view: View, state: GroupState | None, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """36 Float32 columns, tda_long List(Float32)[150·3] row-major, tda_long_mask List(Boolean)[150], tda_global
        List(Float32)[30] (null without a diagram)."""
        del upstream
        frame = _compute(view, state, LONG, self.columns)
        assert state is not None
        both = [diagrams(view, state, cut) for cut in (SHORT, LONG)]
        values = [across(found.pairs, found.counts).reshape(view.customers.height, -1) for found in both]
        known = pl.Series("known", both[1].counts.sum(axis=1) > 0)
        lists = to_lists("tda_global", np.concatenate(values, axis=1).astype(np.float32))
        return frame.with_columns(pl.when(known).then(lists).alias("tda_global"))


def _fit(views: Sequence[View], cut: Cut) -> GroupState:
    scale, categories = fit_scales(views)
    state = GroupState({"scale": scale}, {"categories": categories})
    samples = []
    for view in views:
        share = max(1, _MOST_FITTED // len(views))
        rows = np.arange(0, view.customers.height, max(1, -(-view.customers.height // share)))
        found = sample_diagrams(view, state, cut, rows)
        samples.append((found.pairs, found.counts))
    levels = fit_levels(samples, cut.max_dimension + 1)
    return GroupState({"scale": scale, "levels": levels}, state.meta)


def _compute(view: View, state: GroupState | None, cut: Cut, columns: Sequence[Column]) -> pl.DataFrame:
    if state is None:
        raise ValueError(f"tda_{cut.name} needs its fitted scales")
    found = diagrams(view, state, cut)
    matrix = statistics(found.pairs, found.counts, state.arrays["levels"]).reshape(view.customers.height, -1)
    sides = [to_lists(f"tda_{cut.name}", found.pairs), to_lists(f"tda_{cut.name}_mask", found.mask)]
    return to_frame(view, [column.name for column in columns], matrix).with_columns(sides)
