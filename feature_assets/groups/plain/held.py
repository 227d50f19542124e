"""Held: how many products of each kind a customer ever had, open or closed.

Source: FEATURES §3.2; DATA §3 (nba where the data set takes it from holdings).
"""

from __future__ import annotations

import numpy as np

from feature_assets.events.statements import KINDS
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, Values


class Held(FeatureGroup):
    """Products ever held, by kind. Nothing is fitted."""

    name = "held"
    description = "Products ever held by kind"
    columns = tuple(
        Column(
            f"held__{kind}",
            f"products of kind {kind.replace('_', ' ')} ever held",
            "count",
            "all history",
            ("holdings",),
        )
        for kind in KINDS
    )
    sources = ("holdings",)

    def columns_of_values(self, state: GroupState) -> dict[str, dict[str, str]]:  # noqa: ARG002
        return {kind: {"held": f"held__{kind}"} for kind in KINDS}

    def _values(self, inputs: Inputs) -> Values:
        held = inputs.view.holdings
        cell = held.row * len(KINDS) + held.kind
        counts = np.bincount(cell, minlength=held.customers * len(KINDS)).astype(np.float64)
        return Values(counts.reshape(held.customers, len(KINDS)))


GROUP = Held()
