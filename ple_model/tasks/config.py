"""Settings of a task and of a relation between two tasks. Source: MODEL §2 (table of tasks), §7 (relations)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel, nearest
from ple_model.tasks.kinds import kind_of

Loss = Literal["focal", "log_loss", "nll", "mse", "huber", "infonce"]
Mode = Literal["journey", "lifecycle", "behavior"]

#: Settings that only one loss reads, with their defaults (MODEL §9). Setting one for another loss is an error.
_SETTINGS_OF_LOSS: dict[str, dict[str, float | int | tuple[int, ...]]] = {
    "focal": {"focal_gamma": 2.0, "focal_alpha": 0.25},
    "huber": {"huber_delta": 1.0},
    "infonce": {"temperature": 0.07, "candidates": 500, "negatives": 0, "history": ()},
}


class TaskConfig(ClosedModel):
    """One task. `out` is the width of its tower's output: 1, the number of classes or outputs, or the query's width.

    `kind` names one of `ple_model.tasks.KINDS`. `none_class` names the class that says that nothing happens; the scores
    name the likeliest other class, too. `experts` are preferred: their gate starts with the high bias; one that
    the model does not build waits for it. `hmm`: the mode of MODEL §5 that it reads. `focal_*`, `huber_delta`,
    `temperature`, `candidates` (rows of the learnt table), `negatives` (sampled for each step; 0 = the full table) and
    `history` (for each value in the vocabulary of the customers' history the candidate that it is, −1 = none; empty =
    there is no history) belong to one loss each and are None for the others. `by_class`: for each class the input
    columns that measure it, each measure at its place, −1 = the class has no such column; empty = no class has any.
    `columns`: the input columns that an expert of this task alone reads; empty = it has none.
    Source: MODEL §2, §9.
    """

    name: str
    group: str
    kind: str
    loss: Loss
    out: int = Field(default=1, ge=1)
    none_class: str | None = None
    weight: float = Field(default=1.0, ge=0)
    experts: tuple[str, ...] = ()
    hmm: Mode = "behavior"
    focal_gamma: float | None = Field(default=None, ge=0)
    focal_alpha: float | None = Field(default=None, gt=0, lt=1)
    huber_delta: float | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, gt=0)
    candidates: int | None = Field(default=None, ge=2)
    negatives: int | None = Field(default=None, ge=0)
    history: tuple[int, ...] | None = None
    by_class: tuple[tuple[int, ...], ...] = ()
    columns: tuple[int, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill_settings_of_loss(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = _SETTINGS_OF_LOSS.get(str(data.get("loss")), {})
        filled = dict(data)
        for loss, settings in _SETTINGS_OF_LOSS.items():
            for key in settings:
                if key not in own and data.get(key) is not None:
                    raise ValueError(
                        f"{key!r} is read by loss {loss!r} only; task {data.get('name')!r} uses {data.get('loss')!r}"
                    )
        for key, default in own.items():
            if filled.get(key) is None:
                filled[key] = default
        return filled

    @model_validator(mode="after")
    def _check(self) -> TaskConfig:
        kind_of(self).check(self)
        known = [candidate for candidate in self.history or () if candidate != -1]
        if len(set(known)) != len(known) or not all(0 <= candidate < (self.candidates or 0) for candidate in known):
            raise ValueError(f"task {self.name!r}: history names candidates below {self.candidates}, each once, or −1")
        if self.by_class and (len(self.by_class) != self.out or len({len(columns) for columns in self.by_class}) > 1):
            raise ValueError(f"task {self.name!r}: by_class has a line of columns for each of {self.out} classes")
        return self

    def plain(self) -> TaskConfig:
        """The task with its kind's plain loss (log loss, squared error) and weight 1."""
        loss = kind_of(self).plain_loss
        own = _SETTINGS_OF_LOSS.get(loss, {})
        others = {key: None for settings in _SETTINGS_OF_LOSS.values() for key in settings if key not in own}
        return TaskConfig.from_dict({**self.to_dict(), **others, "loss": loss, "weight": 1.0})


class Relation(ClosedModel):
    """`target`'s tower also reads `source`'s prediction.

    kind says in which form: `feature` the raw output; `sequential` log p of a binary source, its factor in the chain
    rule p(target) = p(source)·p(target | source); `inverse` the logit of the complement, 1 − p, of a binary source.
    Source: MODEL §7.
    """

    source: str
    target: str
    kind: Literal["sequential", "feature", "inverse"]


def named_once(names: Iterable[str], what: str) -> None:
    """Raises ValueError for names that occur twice; `what` they are, in the plural."""
    names = list(names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{what} named twice: {', '.join(twice)}")


def task_of(tasks: Iterable[TaskConfig], name: str, where: str) -> TaskConfig:
    """The task of that name. Raises KeyError that says `where` it is missing and names the nearest one."""
    names = []
    for task in tasks:
        if task.name == name:
            return task
        names.append(task.name)
    raise KeyError(f"no task {name!r} in this {where}; {nearest(name, names)}")
