"""A feature group as a table of measures: each column beside the function that computes it.

Used by the groups of FEATURES §3.2, which have nothing to say but their measures. What the measures read is the group's
own `read`: a context of a View, shared by all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from feature_assets.data.tables import PARTS, View
from feature_assets.events.lines import to_frame
from feature_assets.schema import Column, SideInput
from feature_assets.state import GroupState

C = TypeVar("C")


@dataclass(frozen=True)
class Measure(Generic[C]):
    """One column: `name` without the group, `value` from the context to float64 [customers] (NaN = missing).

    `more`: sources that it cannot do without, beside the group's own.
    """

    name: str
    meaning: str
    unit: str
    window: str
    value: Callable[[C], np.ndarray]
    more: tuple[str, ...] = ()


class MeasuredGroup(Generic[C]):
    """A group of measures.

    Args:
        name: of the group.
        description: one line.
        sources: tables without which the whole group is absent.
        measures: the columns in their order.
        read: what the measures look at, from a View and the fitted state.
        learn: fits the state; None where nothing is learnt.
    """

    side_inputs: tuple[SideInput, ...] = ()
    needs: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        description: str,
        sources: tuple[str, ...],
        measures: Sequence[Measure[C]],
        read: Callable[[View, GroupState | None], C],
        learn: Callable[[Sequence[View]], GroupState] | None = None,
    ) -> None:
        self.name, self.description, self.sources = name, description, sources
        self._measures, self._read, self._learn = tuple(measures), read, learn
        self.columns = tuple(
            Column(f"{name}__{m.name}", m.meaning, m.unit, m.window, (*sources, *m.more)) for m in measures
        )

    def fit(
        self, views: Sequence[View], upstream: Sequence[Mapping[str, pl.DataFrame]], seed: int
    ) -> GroupState | None:
        """What `learn` says of the training dates."""
        del upstream, seed
        return self._learn(views) if self._learn is not None else None

    def compute(self, view: View, state: GroupState | None, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """`customer_id` and the measures, Float32; null throughout where the table of a source of `more` is missing."""
        del upstream
        if self._learn is not None and state is None:
            raise ValueError(f"{self.name} needs its fitted state")
        context, n = self._read(view, state), view.customers.height
        delivered = {m.more: all(view.has(_table(source)) for source in m.more) for m in self._measures}
        values = [m.value(context) if delivered[m.more] else np.full(n, np.nan) for m in self._measures]
        return to_frame(view, [column.name for column in self.columns], np.stack(values, axis=1))


def _table(source: str) -> str:
    return PARTS[source][0] if source in PARTS else source
