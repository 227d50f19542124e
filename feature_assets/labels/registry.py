"""All tasks in their order, and what other modules derive from them.

A plug-in adds its own with `register`. Source: MODEL §2 (order), §7 (relations).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from feature_assets.closed import nearest
from feature_assets.data.dataset import DatasetConfig
from feature_assets.labels import consumption, engagement, lifecycle, value
from feature_assets.labels.task import Task

MERGED = "Classes that too few customers are in are merged."
_TASKS: dict[str, Task] = {
    task.name: task for module in (engagement, lifecycle, value, consumption) for task in module.TASKS
}


def register(task: Task) -> None:
    """Add a task behind the others.

    Raises:
        ValueError: there is a task of this name.
    """
    if task.name in _TASKS:
        raise ValueError(f"there is a task {task.name!r} already; give the new one another name")
    _TASKS[task.name] = task


def every_task() -> tuple[Task, ...]:
    """All tasks, in their order."""
    return tuple(_TASKS.values())


def get_task(name: str) -> Task:
    """The task of a name. Raises ValueError for an unknown name, with the nearest known one."""
    if name not in _TASKS:
        raise ValueError(f"unknown task {name!r}: {nearest(name, _TASKS)}")
    return _TASKS[name]


def tasks(dataset: DatasetConfig) -> tuple[Task, ...]:
    """The tasks that are on for a data set: those on by default and those of `tasks_on`, without `tasks_off`.

    Raises:
        ValueError: `tasks_on` names an unknown task.
    """
    on = {get_task(name).name for name in dataset.tasks_on}
    return tuple(t for t in _TASKS.values() if (t.default or t.name in on) and t.name not in dataset.tasks_off)


def why_off(dataset: DatasetConfig) -> dict[str, str]:
    """Every task → why it is off for a data set; empty for one that is on."""
    on = {task.name for task in tasks(dataset)}
    return {
        name: "" if name in on else dataset.tasks_off.get(name) or "off unless tasks_on names it" for name in _TASKS
    }


def windows(dataset: DatasetConfig) -> dict[str, int]:
    """Task → label window in days, for the tasks that are on."""
    return {t.name: t.window(dataset) for t in tasks(dataset)}


def relations(names: Iterable[str]) -> list[dict[str, str]]:
    """Relations between the named tasks as plain values (source, target, kind) for `Relation` of `ple_model.tasks`, in
    the order of their sources."""
    on = set(names)
    order = list(_TASKS)
    found: list[dict[str, str]] = [
        {"source": read.source, "target": t.name, "kind": read.kind}
        for t in _TASKS.values()
        for read in t.model.reads
        if t.name in on and read.source in on
    ]
    return sorted(found, key=lambda relation: order.index(relation["source"]))


def describe(dataset: DatasetConfig, merged: Collection[str] = ()) -> list[dict[str, Any]]:
    """The entries of `tasks.json`: one a task that is on; `merged`: tasks whose classes are (`LabelState.merged`)."""
    entries = [t.describe(dataset) for t in tasks(dataset)]
    return [e | {"meaning": f"{e['meaning']} {MERGED}"} if e["name"] in merged else e for e in entries]


def markdown(dataset: DatasetConfig) -> str:
    """A table of all tasks, as docs/tasks.md holds it, with the days of a data set."""
    columns = ("task", "group", "kind", "days", "meaning", "label for", "unit", "natural unit")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for t in _TASKS.values():
        entry = t.describe(dataset)
        name = t.name if t.default else f"{t.name} (off)"
        cells = (entry["group"], entry["kind"], str(entry["window_days"]), entry["meaning"], entry["labelled"])
        units = f"{entry['unit'] or '–'} | {entry['natural_unit'] or entry['unit'] or '–'}"
        lines.append(f"| {name} | {' | '.join(cells)} | {units} |")
    return "\n".join(lines) + "\n"
