"""Relations between tasks: which of them hold in a model, and the order of towers that follows from them.

Source: MODEL §7.
"""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

from ple_model.closed import nearest
from ple_model.tasks.catalogue import TASK_NAMES
from ple_model.tasks.config import Relation, TaskConfig
from ple_model.tasks.kinds import kind_of


def active_relations(
    relations: Iterable[Relation], tasks: Iterable[TaskConfig]
) -> tuple[tuple[Relation, ...], tuple[Relation, ...]]:
    """(kept, dropped): relations whose two tasks are on, and those that name a known task that is off.

    Raises:
        ValueError: a relation with an unknown task, or `sequential` or `inverse` from a source that is not a single
            logit.

    Source: MODEL §7.
    """
    on = {task.name: task for task in tasks}
    known = list(dict.fromkeys([*on, *TASK_NAMES]))
    kept, dropped = [], []
    for relation in relations:
        for name in (relation.source, relation.target):
            if name not in known:
                raise ValueError(
                    f"relation {relation.source} → {relation.target} names unknown task {name!r}; "
                    f"{nearest(name, known)}"
                )
        if relation.source not in on or relation.target not in on:
            dropped.append(relation)
            continue
        check_form(relation, on[relation.source])
        kept.append(relation)
    return tuple(kept), tuple(dropped)


def check_form(relation: Relation, source: TaskConfig) -> None:
    """Raises ValueError where the form of a relation does not fit its source."""
    if relation.kind != "feature" and not kind_of(source).is_probability:
        raise ValueError(
            f"relation {relation.source} → {relation.target}: kind {relation.kind!r} needs a binary source, "
            f"and {relation.source} is {source.kind}; use 'feature'"
        )


def topological_levels(names: Iterable[str], relations: Iterable[Relation]) -> tuple[tuple[str, ...], ...]:
    """Tasks by level: a task stands one level behind its latest source, in the given order within a level.

    Raises:
        ValueError: relations form a cycle; the message names its tasks.

    Source: MODEL §7.
    """
    order = list(names)
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(order, ()))
    for relation in relations:
        sorter.add(relation.target, relation.source)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = set(error.args[1])
        members = ", ".join(name for name in order if name in cycle)
        raise ValueError(f"relations between tasks form a cycle among: {members}") from error
    levels = []
    while sorter.is_active():
        level = set(sorter.get_ready())
        levels.append(tuple(name for name in order if name in level))
        sorter.done(*level)
    return tuple(levels)
