"""Whether the training labels of a task are enough to learn it. A task with too few is off for that version.

How many are enough belongs to the kinds (`LabelKind.scarce`). Source: DATA §1, §3.
"""

from __future__ import annotations

import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.labels.context import Snapshot
from feature_assets.labels.registry import tasks
from feature_assets.labels.state import LabelState
from feature_assets.snapshots import SnapshotPlan

NONE_AT_ALL = "no training row has a label"


class NotEnoughLabels(ValueError):
    """No task has training labels enough. Says of each how many there are and how many are needed."""


def with_enough(tables: Tables, plan: SnapshotPlan, state: LabelState) -> LabelState:
    """The state with each task whose training labels are too few switched off (`LabelState.off`).

    Training dates are read from the newest back, until every task has enough: mostly the first one is.

    Args:
        tables: contract tables.
        plan: only labels that may be used on its training dates count.
        state: of `fit_labels`.

    Raises:
        NotEnoughLabels: no task is left.
    """
    on = [task for task in tasks(tables.dataset) if task.name in plan.windows]
    found = {task.name: pl.DataFrame() for task in on}
    off = dict.fromkeys(found, NONE_AT_ALL)
    for day in reversed(plan.train):
        if not off:
            break
        snapshot = Snapshot(tables, day, state)
        for task in on:
            if task.name in off and plan.usable(task.name, day):
                rows = snapshot.known.select("customer", label=task.column(snapshot)).drop_nulls()
                found[task.name] = every = pl.concat([found[task.name], rows], how="diagonal")
                classes = state.classes.get(task.name, ())
                why = task.kind.scarce(every["label"], every["customer"], classes) if len(every) else NONE_AT_ALL
                off[task.name] = why
        off = {name: why for name, why in off.items() if why}
    if on and len(off) == len(on):
        told = "; ".join(f"{name}: {why}" for name, why in off.items())
        raise NotEnoughLabels(
            f"no task has enough training labels as of {plan.as_of} ({told}). Deliver the data of more customers or "
            "days, or take a later as-of date."
        )
    return state.model_copy(update={"off": off})
