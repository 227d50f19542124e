"""The tables that studies know, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.studies.tables import census, synthetic
from benchmarks.studies.tables.table import Table


@dataclass(frozen=True)
class Source:
    """tasks: origin → those of its table; load: a table by its origin; code: the module that decides its rows."""

    tasks: Mapping[str, tuple[str, ...]]
    load: Callable[[str], Table]
    code: Path


SOURCES: Mapping[str, Source] = {
    name: Source({origin: module.tasks_of(origin) for origin in origins}, module.load, Path(module.__file__))
    for name, module, origins in (
        ("census", census, census.GROUPS),
        ("synthetic", synthetic, synthetic.CORRELATIONS),
    )
}


def trees_of(source: str, task: str) -> str:
    """The name under which a task's trees are searched: tasks that are one problem for a model of one task (the same
    rows, inputs and labels) share it, the part before a bracket."""
    return task.split(" (")[0] if source == "census" else task
