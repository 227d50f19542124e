"""Sources that the champion was trained with and tonight's delivery lacks, and what depends on them.

A model reads what it was trained on: a column whose source is gone would be a zero for everyone. The setting
`missing_sources` says whether such a night stops, or goes on with these inputs missing and these tasks withheld. A
table that shrank, or a column of one that nobody fills any more, belongs to `monitoring/volume.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from feature_assets import registry
from feature_assets.build import assemble, compute_group, groups_of
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup
from feature_assets.labels import get_task
from feature_assets.state import FeatureState

SHOWN = 6
"""Names of a long list that a message shows."""


@dataclass(frozen=True)
class Lost:
    """What a delivery lacks of what a state was fitted with; empty where it lacks nothing.

    sources: contract tables, or parts of them. groups: feature groups that cannot be computed. columns: present columns
    that depend on a lost source. tasks: tasks of the model that mean nothing without it.
    """

    sources: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def of(self, group: FeatureGroup) -> list[str]:
        """The lost columns of a group."""
        return [column.name for column in group.columns if column.name in self.columns]

    def words(self) -> str:
        """What is missing and what depends on it, in one sentence."""
        parts = [_several(f"{len(self.columns)} columns", self.groups, "groups"), _several("", self.tasks, "tasks")]
        depending = " and ".join(part for part in parts if part)
        return f"tonight's delivery lacks {', '.join(self.sources)}, which the champion was trained with: {depending}"


def find(has: Callable[[str], bool], state: FeatureState, tasks: Iterable[str]) -> Lost:
    """What a delivery lacks.

    Args:
        has: whether the delivery has a contract table, or a part of one.
        state: the champion's fitted state.
        tasks: names of the champion's tasks.
    """
    needed: dict[str, None] = {}
    groups, columns = [], []
    present = set(state.present)
    for name in groups_of(state):
        group = registry.registry()[name]
        sources = (*group.sources, *group.uses(state.groups[name]))
        needed |= dict.fromkeys(sources)
        whole = all(has(source) for source in sources)
        if not whole:
            groups.append(name)
        for column in group.columns:
            if column.name in present:
                needed |= dict.fromkeys(column.sources)
                if not whole or not all(has(source) for source in column.sources):
                    columns.append(column.name)
    off = []
    for task in tasks:
        needs = get_task(task).needs
        needed |= dict.fromkeys(needs)
        if not all(has(table) for table in needs):
            off.append(task)
    return Lost(tuple(s for s in needed if not has(s)), tuple(groups), tuple(columns), tuple(off))


def masked(group: FeatureGroup, view: View, lost: Lost, compute: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """A group's frame with null in place of what depends on a lost source. `compute` is not called for a lost group."""
    if group.name not in lost.groups:
        return compute().with_columns(pl.lit(None, pl.Float32).alias(name) for name in lost.of(group))
    columns = [pl.lit(None, pl.Float32).alias(column.name) for column in group.columns]
    sides = [pl.lit(None, pl.List(side.dtype)).alias(side.name) for side in group.side_inputs]
    return view.customers.select("customer_id", *columns, *sides)


def outputs_of(view: View, state: FeatureState, lost: Lost, wanted: Iterable[str]) -> dict[str, pl.DataFrame]:
    """The frames of some groups and of those that they need, as the assets of a night make them."""
    needed = {*wanted}
    for name in reversed(groups_of(state)):
        if name in needed:
            needed |= {*registry.registry()[name].needs}
    outputs: dict[str, pl.DataFrame] = {}
    for name in groups_of(state):
        if name in needed:
            group = registry.registry()[name]
            outputs[name] = masked(group, view, lost, partial(compute_group, name, view, state, outputs))
    return outputs


def matrix_of(view: View, state: FeatureState, lost: Lost) -> pl.DataFrame:
    """The feature matrix of a view by a fitted state, as the assets of a night make it of their groups."""
    return assemble(view, outputs_of(view, state, lost, groups_of(state)), state)


def withheld(tasks: Sequence[dict[str, Any]], lost: Lost) -> list[dict[str, Any]]:
    """Entries of tasks.json in which the lost tasks withhold their predictions; nobody is eligible for them."""
    return [task | {"withheld": True} if task["name"] in lost.tasks else task for task in tasks]


def _several(first: str, names: Sequence[str], kind: str) -> str:
    """`12 columns (groups a, b, c and 3 more)`, or `tasks a, b`; empty without names."""
    if not names:
        return first if first and not first.startswith("0 ") else ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = f"{kind if len(names) > 1 else kind.removesuffix('s')} {', '.join(names[:SHOWN])}{more}"
    return f"{first} ({listed})" if first else listed
