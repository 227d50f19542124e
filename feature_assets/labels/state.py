"""The fitted part of the labels, as JSON can hold it. Each task says what it fits. Source: DATA §3, LESSONS 20."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import Field

from feature_assets.closed import Closed


class LabelState(Closed):
    """Vocabularies, shares, quantiles and edges, fitted on training windows.

    Attributes:
        fitted_until: no event at or after this day took part.
        classes: task → names of its classes, in the order of the class indices (brands: most frequent first).
        category_shares: population's share of spend of each class of spending_category.
        channel_shares: population's share of purchase lines of each class of channel, where the label is a lift over
            it (otherwise empty).
        brand_frequency: share of branded purchase lines of each brand of the vocabulary.
        spend_knots: strictly increasing log1p spends.
        spend_levels: the training quantile in [0, 1] of each knot (mid-rank where spends tie).
        stage_edges: ratio of spend in the window to spend expected from the past, below which a customer declines and
            from which on they grow: the terciles of the training rows.
        merged: task → name of each class as declared or fitted → name of the class in `classes` that it is part of, of
            tasks in some of whose classes too few customers are (`merging.py`).
        off: task → why its training labels are too few to learn from, of those that are.
    """

    fitted_until: date
    classes: dict[str, list[str]]
    category_shares: list[float] = Field(default_factory=list)
    channel_shares: list[float] = Field(default_factory=list)
    brand_frequency: list[float] = Field(default_factory=list)
    spend_knots: list[float] = Field(default_factory=list)
    spend_levels: list[float] = Field(default_factory=list)
    stage_edges: tuple[float, float] = (1.0, 1.0)
    merged: dict[str, dict[str, str]] = Field(default_factory=dict)
    off: dict[str, str] = Field(default_factory=dict)

    def merged_in_words(self) -> list[str]:
        """A line a task whose classes are merged."""
        return [
            f"task {task}: {len(parts)} classes are merged into {len(self.classes[task])}, since too few customers are "
            f"in some: {', '.join(self.classes[task])}"
            for task, parts in self.merged.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON can hold it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LabelState:
        """The inverse of `to_dict`.

        Raises:
            ValueError: an unknown key, a missing one, or a wrong value.
        """
        return cls(**values)
