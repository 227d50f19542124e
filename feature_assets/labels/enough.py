"""Whether the training labels of a task are enough to learn it: classes merge, or the task is off for that version.

How many are enough belongs to the kinds (`LabelKind.scarce`), how classes merge to `merging.py`. Source: DATA §1, §3.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.labels.context import Snapshot
from feature_assets.labels.merging import having, relabelled
from feature_assets.labels.registry import tasks
from feature_assets.labels.state import LabelState
from feature_assets.labels.task import Task
from feature_assets.snapshots import SnapshotPlan

NONE_AT_ALL = "no training row has a label"


class NotEnoughLabels(ValueError):
    """No task has training labels enough. Says of each how many there are and how many are needed."""


def with_enough(tables: Tables, plan: SnapshotPlan, state: LabelState) -> LabelState:
    """The state for labels as few as these: classes that too few customers are in are merged (`LabelState.merged`), and
    each task whose training labels are too few even so is off (`LabelState.off`).

    Args:
        tables: contract tables.
        plan: only labels that may be used on its training dates count.
        state: of `fit_labels`.

    Raises:
        NotEnoughLabels: no task is left.
    """
    on = [task for task in tasks(tables.dataset) if task.name in plan.windows]
    found = _training_labels(on, tables, plan, state)
    classes = dict(state.classes)
    merged: dict[str, dict[str, str]] = {}
    off: dict[str, str] = {}
    for task in on:
        rows, names = found[task.name], classes.get(task.name, [])
        if _rare(task, rows, names):
            parts = task.merging.merged(having(rows["label"], rows["customer"], len(names)), names, task.none_class)
            if len(fewer := list(dict.fromkeys(parts.values()))) < len(names):
                merged[task.name], classes[task.name] = parts, fewer
                rows = rows.with_columns(label=relabelled(rows["label"], parts))
        if why := _scarce(task, rows, classes.get(task.name, ())):
            off[task.name] = why
    if on and len(off) == len(on):
        told = "; ".join(f"{name}: {why}" for name, why in off.items())
        raise NotEnoughLabels(
            f"no task has enough training labels as of {plan.as_of} ({told}). Deliver the data of more customers or "
            "days, or take a later as-of date."
        )
    return state.model_copy(update={"classes": classes, "merged": merged, "off": off})


def _training_labels(
    on: Sequence[Task], tables: Tables, plan: SnapshotPlan, state: LabelState
) -> dict[str, pl.DataFrame]:
    """Task → `customer`, `label` of training rows, from the newest date back until there are enough of every class: of
    most tasks those of one date."""
    found = {task.name: pl.DataFrame(schema={"customer": pl.UInt32, "label": task.kind.dtype}) for task in on}
    wanting = list(on)
    for day in reversed(plan.train):
        if not wanting:
            break
        snapshot = Snapshot(tables, day, state)
        for task in wanting:
            if plan.usable(task.name, day):
                rows = snapshot.known.select("customer", label=task.column(snapshot)).drop_nulls()
                found[task.name] = pl.concat([found[task.name], rows])
        wanting = [
            task
            for task in wanting
            if _rare(task, found[task.name], state.classes.get(task.name, ()))
            or _scarce(task, found[task.name], state.classes.get(task.name, ()))
        ]
    return found


def _rare(task: Task, rows: pl.DataFrame, classes: Sequence[str]) -> bool:
    """Whether a class that could merge has too few customers."""
    if rows.is_empty():
        return False
    return bool({*task.kind.rare(rows["label"], rows["customer"], classes)} - {task.none_class})


def _scarce(task: Task, rows: pl.DataFrame, classes: Sequence[str]) -> str:
    return NONE_AT_ALL if rows.is_empty() else task.kind.scarce(rows["label"], rows["customer"], classes)
