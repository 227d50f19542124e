"""Groups tda_short (90 days, H0 and H1) and tda_long (365 days, H0 to H2): statistics and diagrams.

A customer with fewer than two different points in the window has null columns and a mask that is false throughout.
`tda_global` holds six cross-dimension statistics for each of the short window's two dimensions and the long window's
three (zeros for a window without a diagram); it is null where the long window has none. Source: FEATURES §3.3.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from feature_assets.events.numbers import flat_rows
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, SideInput, TrainingInputs, Values
from feature_assets.groups.domain.tda.diagrams import LONG, SHORT, Cut, diagrams, sample_diagrams
from feature_assets.groups.domain.tda.points import fit_scales
from feature_assets.groups.domain.tda.statistics import ACROSS, H0, HIGHER, across, fit_levels, statistics

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


class _Persistence(FeatureGroup):
    """Statistics and diagram of one window. Fitted: scales of the points, levels of the population."""

    sources = ("transactions",)

    def __init__(self, cut: Cut) -> None:
        self.name = f"tda_{cut.name}"
        self.columns = _columns(cut)
        self.side_inputs = _side_inputs(cut)
        self._cut = cut

    def _learn(self, training: TrainingInputs) -> GroupState:
        """Arrays `scale` [6] and `levels` [dimensions, 2], and the categories in the order of their rank."""
        scale, categories = fit_scales(training.views)
        state = GroupState({"scale": scale}, {"categories": categories})
        samples = []
        for view in training.views:
            share = max(1, _MOST_FITTED // len(training.views))
            rows = np.arange(0, view.customers.height, max(1, -(-view.customers.height // share)))
            sample = sample_diagrams(view, state, self._cut, rows)
            samples.append((sample.pairs, sample.counts))
        levels = fit_levels(samples, self._cut.max_dimension + 1)
        return GroupState({"scale": scale, "levels": levels}, state.meta)

    def _values(self, inputs: Inputs) -> Values:
        """The columns, the persistence pairs [room, 3] and the mask [room] of those that are real."""
        found = diagrams(inputs.view, inputs.state, self._cut)
        matrix = statistics(found.pairs, found.counts, inputs.state.arrays["levels"])
        return Values(flat_rows(matrix), {self.name: found.pairs, f"{self.name}_mask": found.mask})


class TdaShort(_Persistence):
    """Statistics (24 columns) and diagram of the last 90 days."""

    description = "Persistent homology (H0, H1) of the purchases and sessions of 90 days"

    def __init__(self) -> None:
        super().__init__(SHORT)


class TdaLong(_Persistence):
    """Statistics (36 columns) and diagram of the last 365 days, and the cross-dimension statistics of both windows."""

    description = "Persistent homology (H0, H1, H2) of the purchases and sessions of 365 days"

    def __init__(self) -> None:
        super().__init__(LONG)
        meaning = "cross-dimension statistics of the short (H0, H1) and the long (H0, H1, H2) diagram"
        channels = tuple(
            f"{cut.name}_h{d}_{m}" for cut in (SHORT, LONG) for d in range(cut.max_dimension + 1) for m in ACROSS
        )
        self.side_inputs = (*self.side_inputs, SideInput("tda_global", meaning, (30,), pl.Float32, channels))

    def _values(self, inputs: Inputs) -> Values:
        """As in the base class, and tda_global [30], null for a customer without a diagram of the long window."""
        own = super()._values(inputs)
        short, long = (diagrams(inputs.view, inputs.state, cut) for cut in (SHORT, LONG))
        both = [flat_rows(across(d.pairs, d.counts)) for d in (short, long)]
        sides = {**own.sides, "tda_global": np.concatenate(both, axis=1).astype(np.float32)}
        return Values(own.columns, sides, {"tda_global": long.counts.sum(axis=1) > 0})
