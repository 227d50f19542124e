"""The pool of expert types as a configuration sees it: settings by name, to which a plug-in can add.

The networks belong to `ple_model.experts`, whose `register` adds settings and network together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from ple_model.closed import ClosedModel, nearest
from ple_model.config._types import Width
from ple_model.tasks import TaskConfig


class ExpertConfig(ClosedModel):
    """Base of an expert's settings. `name` is the type, with a default in every subclass; `width` is that of the block
    which the expert adds to h_shared."""

    name: str
    width: Width


_POOL: dict[str, type[ExpertConfig]] = {}


def add_to_pool(*configs: type[ExpertConfig]) -> None:
    """Make settings known by their default name; the same class again changes nothing.

    Raises:
        ValueError: a class without a default name, or with the name of another class.
    """
    for config in configs:
        name = config.model_fields["name"].default
        if not isinstance(name, str):
            raise ValueError(f'{config.__name__} has no name: declare `name: Literal["..."] = "..."`')
        if _POOL.setdefault(name, config) is not config:
            raise ValueError(f"an expert named {name!r} exists already: {_POOL[name].__name__}")


def expert_names() -> tuple[str, ...]:
    """Every type of expert that is known, the built-in ones first."""
    return tuple(_POOL)


def check_preferences(tasks: Iterable[TaskConfig]) -> None:
    """Raises ValueError for a task that prefers an expert of no known type; one that is not built is no error."""
    for task in tasks:
        for expert in task.experts:
            if expert not in _POOL:
                raise ValueError(f"task {task.name!r} prefers unknown expert {expert!r}; {nearest(expert, _POOL)}")


def _by_name(data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    name = data.get("name")
    if name not in _POOL:
        known = ", ".join(map(repr, _POOL))
        raise ValueError(f"unknown expert {name!r}; {nearest(str(name), _POOL)} (known: {known})")
    return _POOL[name].from_dict(data)


#: Settings of any expert in the pool: an instance, or a mapping whose `name` says which.
AnyExpert = SerializeAsAny[Annotated[ExpertConfig, BeforeValidator(_by_name)]]
