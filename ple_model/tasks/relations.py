"""Relations between tasks: which of them hold in a model, and the order of towers that follows from them.

Source: MODEL §7.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from ple_model.tasks.config import Relation, TaskConfig
from ple_model.tasks.kinds import kind_of

#: Similarity (`difflib`) from which a name counts as that of a configured task, misspelt: one letter of five or more.
MISSPELT = 0.8


def active_relations(
    relations: Iterable[Relation], tasks: Iterable[TaskConfig]
) -> tuple[tuple[Relation, ...], tuple[Relation, ...]]:
    """(kept, dropped): relations whose two tasks are configured, and those of which one is not.

    A model does not know the tasks that a data set leaves out, so a relation with one of them is dropped. A name that
    is nearly that of a configured task counts as misspelt.

    Raises:
        ValueError: a relation with a misspelt task, or `sequential` or `inverse` from a source that is not a single
            logit.

    Source: MODEL §7.
    """
    on = {task.name: task for task in tasks}
    kept, dropped = [], []
    for relation in relations:
        for name in (relation.source, relation.target):
            if name not in on and (meant := get_close_matches(name, on, n=1, cutoff=MISSPELT)):
                raise ValueError(
                    f"relation {relation.source} → {relation.target} names unknown task {name!r}; did you mean "
                    f"{meant[0]!r}? If {name!r} is another task that is off, leave the relation out"
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
