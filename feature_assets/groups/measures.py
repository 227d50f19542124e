"""A feature group as a table of measures: each column beside the function that computes it.

Used by the groups of FEATURES §3.2, which consist of nothing but their measures. The measures of a group share one
context, which the group's `read` makes from a View and the fitted state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from feature_assets.data.parts import table_of
from feature_assets.group import Column, FeatureGroup, GroupState, Inputs, TrainingInputs, Values

C = TypeVar("C")


@dataclass(frozen=True)
class Measure(Generic[C]):
    """One column of a measured group.

    Attributes:
        name: without the group's name.
        meaning: one line of plain language.
        unit: natural unit.
        window: the time that it looks back over.
        value: from the context to float64 [customers], NaN where missing.
        more: sources that it cannot be computed without, beside the group's own.
    """

    name: str
    meaning: str
    unit: str
    window: str
    value: Callable[[C], np.ndarray]
    more: tuple[str, ...] = ()


class MeasuredGroup(FeatureGroup, Generic[C]):
    """A group of measures.

    Args:
        name: of the group.
        description: one line.
        sources: tables without which the whole group is absent.
        measures: the columns in their order.
        read: makes the context of the measures.
        learn: fits the state; by default nothing is learnt.
    """

    def __init__(
        self,
        name: str,
        description: str,
        sources: tuple[str, ...],
        measures: Sequence[Measure[C]],
        read: Callable[[Inputs], C],
        learn: Callable[[TrainingInputs], GroupState] | None = None,
    ) -> None:
        self.name, self.description, self.sources = name, description, sources
        self._measures, self._read, self._fit = tuple(measures), read, learn
        self.columns = tuple(
            Column(f"{name}__{m.name}", m.meaning, m.unit, m.window, (*sources, *m.more)) for m in measures
        )

    def _learn(self, training: TrainingInputs) -> GroupState:
        return super()._learn(training) if self._fit is None else self._fit(training)

    def _values(self, inputs: Inputs) -> Values:
        """The measures; NaN throughout where the table of a source of `more` is missing."""
        context, view = self._read(inputs), inputs.view
        delivered = {m.more: all(view.has(table_of(source)) for source in m.more) for m in self._measures}
        nothing = np.full(view.customers.height, np.nan)
        values = [m.value(context) if delivered[m.more] else nothing for m in self._measures]
        return Values(np.stack(values, axis=1))
