"""The kinds of task by name."""

from __future__ import annotations

from typing import Protocol

from ple_model.closed import nearest
from ple_model.tasks.binary import Binary
from ple_model.tasks.contrastive import Contrastive
from ple_model.tasks.kind import Kind
from ple_model.tasks.multiclass import Multiclass
from ple_model.tasks.regression import Regression
from ple_model.tasks.uplift import Uplift

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Binary(), Multiclass(), Regression(), Contrastive(), Uplift())}


class _HasKind(Protocol):
    @property
    def kind(self) -> str: ...


def kind_of(task: _HasKind | str) -> Kind:
    """The kind of a task, or of that name. Raises ValueError that names the nearest known one."""
    name = task if isinstance(task, str) else task.kind
    if name not in KINDS:
        raise ValueError(f"unknown kind of task {name!r}; {nearest(name, KINDS)}")
    return KINDS[name]
