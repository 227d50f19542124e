"""Tasks and the relations between them: what is predicted, with which loss, in which order.

A task is an entry of the configuration; adding one needs no change of code. No torch here.
Source: MODEL §2 (table of tasks), §7 (relations).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from ple_model.closed import ClosedModel, nearest

Kind = Literal["binary", "multiclass", "regression", "contrastive"]
Loss = Literal["focal", "nll", "mse", "huber", "infonce"]
Mode = Literal["journey", "lifecycle", "behavior"]

#: Experts of MODEL §3. A task may prefer one that this model does not build: the preference then waits for it.
EXPERT_NAMES = (
    "unified_hgcn",
    "perslay",
    "deepfm",
    "temporal",
    "lightgcn",
    "causal",
    "optimal_transport",
    "raw_scale",
)

_LOSSES_OF_KIND: dict[str, tuple[str, ...]] = {
    "binary": ("focal",),
    "multiclass": ("nll",),
    "regression": ("mse", "huber"),
    "contrastive": ("infonce",),
}

#: Settings that only one loss reads, with their defaults (MODEL §9). Setting one for another loss is an error.
_SETTINGS_OF_LOSS: dict[str, dict[str, float | int]] = {
    "focal": {"focal_gamma": 2.0, "focal_alpha": 0.25},
    "huber": {"huber_delta": 1.0},
    "infonce": {"temperature": 0.07, "candidates": 500, "negatives": 0},
}


class TaskConfig(ClosedModel):
    """One task. `out` is the width of its tower's output: 1, the number of classes, or the width of the query.

    `experts` are preferred: their gate starts with the high bias. `hmm`: the mode of MODEL §5 that it
    reads. `focal_*`, `huber_delta`, `temperature`, `candidates` (rows of the learnt table) and `negatives` (sampled for
    each step; 0 = the full table) belong to one loss each and are None for the others. Source: MODEL §2, §9.
    """

    name: str
    group: str
    kind: Kind
    loss: Loss
    out: int = Field(default=1, ge=1)
    weight: float = Field(default=1.0, ge=0)
    experts: tuple[str, ...] = ()
    hmm: Mode = "behavior"
    focal_gamma: float | None = Field(default=None, ge=0)
    focal_alpha: float | None = Field(default=None, gt=0, lt=1)
    huber_delta: float | None = Field(default=None, gt=0)
    temperature: float | None = Field(default=None, gt=0)
    candidates: int | None = Field(default=None, ge=2)
    negatives: int | None = Field(default=None, ge=0)

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
        if self.loss not in _LOSSES_OF_KIND[self.kind]:
            raise ValueError(
                f"task {self.name!r}: loss {self.loss!r} does not fit kind {self.kind!r}; "
                f"use {' or '.join(_LOSSES_OF_KIND[self.kind])}"
            )
        if self.kind == "binary" and self.out != 1:
            raise ValueError(f"task {self.name!r}: a binary task has out = 1, not {self.out}")
        if self.kind == "multiclass" and self.out < 2:
            raise ValueError(f"task {self.name!r}: a multiclass task has at least 2 classes, not {self.out}")
        for expert in self.experts:
            if expert not in EXPERT_NAMES:
                raise ValueError(
                    f"task {self.name!r} prefers unknown expert {expert!r}; {nearest(expert, EXPERT_NAMES)}"
                )
        return self


class Relation(ClosedModel):
    """`target`'s tower also reads `source`'s prediction.

    kind says in which form: `feature` the raw output; `sequential` log p of a binary source, its factor in the chain
    rule p(target) = p(source)·p(target | source); `inverse` the logit of the complement, 1 − p, of a binary source.
    Source: MODEL §7.
    """

    source: str
    target: str
    kind: Literal["sequential", "feature", "inverse"]


_MODES: dict[str, Mode] = {
    "engagement": "journey",
    "lifecycle": "lifecycle",
    "value": "behavior",
    "consumption": "behavior",
}


def _task(name: str, group: str, kind: Kind, loss: Loss, weight: float, experts: str, **more: Any) -> TaskConfig:
    return TaskConfig(
        name=name,
        group=group,
        kind=kind,
        loss=loss,
        weight=weight,
        experts=tuple(experts.split()),
        hmm=_MODES[group],
        **more,
    )


_CATALOGUE: tuple[TaskConfig, ...] = (
    _task("ctr", "engagement", "binary", "focal", 1.0, "perslay temporal unified_hgcn", focal_alpha=0.25),
    _task("cvr", "engagement", "binary", "focal", 1.5, "perslay temporal unified_hgcn", focal_alpha=0.20),
    _task("engagement", "engagement", "regression", "mse", 0.8, "temporal"),
    _task("uplift", "engagement", "regression", "mse", 1.0, ""),
    _task("churn", "lifecycle", "binary", "focal", 1.2, "perslay temporal", focal_alpha=0.60),
    _task("retention", "lifecycle", "binary", "focal", 1.0, "perslay temporal", focal_alpha=0.20),
    _task("life_stage", "lifecycle", "multiclass", "nll", 0.8, "perslay temporal", out=6),
    _task("ltv", "lifecycle", "regression", "huber", 1.5, "temporal deepfm"),
    _task("balance_util", "value", "regression", "huber", 1.0, "temporal"),
    _task("channel", "value", "multiclass", "nll", 0.8, "temporal", out=3),
    _task("timing", "value", "multiclass", "nll", 0.8, "temporal", out=28),
    _task("nba", "consumption", "multiclass", "nll", 2.0, "perslay unified_hgcn lightgcn", out=12),
    _task("spending_category", "consumption", "multiclass", "nll", 1.2, "unified_hgcn perslay", out=12),
    _task("consumption_cycle", "consumption", "multiclass", "nll", 0.8, "temporal", out=7),
    _task("spending_bucket", "consumption", "regression", "huber", 0.8, "deepfm"),
    _task("category_uplift", "consumption", "regression", "mse", 1.5, "", out=12),
    _task("brand_prediction", "consumption", "contrastive", "infonce", 2.0, "unified_hgcn", out=128),
    _task("merchant_affinity", "consumption", "regression", "huber", 1.0, "unified_hgcn temporal"),
)

TASK_NAMES: tuple[str, ...] = tuple(task.name for task in _CATALOGUE)
OFF_BY_DEFAULT: tuple[str, ...] = ("uplift", "category_uplift")

DEFAULT_RELATIONS: tuple[Relation, ...] = (
    Relation(source="ctr", target="cvr", kind="sequential"),
    Relation(source="cvr", target="ltv", kind="feature"),
    Relation(source="churn", target="retention", kind="inverse"),
    Relation(source="nba", target="spending_category", kind="feature"),
    Relation(source="spending_category", target="brand_prediction", kind="feature"),
)


def default_tasks() -> tuple[TaskConfig, ...]:
    """The 16 tasks that are on by default, in the order of MODEL §2."""
    return tuple(task for task in _CATALOGUE if task.name not in OFF_BY_DEFAULT)


def select(names: Iterable[str], classes: Mapping[str, int] | None = None) -> tuple[TaskConfig, ...]:
    """The named tasks in the order of MODEL §2, with the class counts of a data set.

    classes: task → number of classes (multiclass: `out`) or of candidates (contrastive: rows of its table).
    Raises ValueError for an unknown name.
    """
    wanted, classes = set(names), classes or {}
    for name in sorted(wanted):
        if name not in TASK_NAMES:
            raise ValueError(f"unknown task {name!r}; {nearest(name, TASK_NAMES)}")
    return tuple(_with_classes(task, classes.get(task.name)) for task in _CATALOGUE if task.name in wanted)


def _with_classes(task: TaskConfig, count: int | None) -> TaskConfig:
    key = {"multiclass": "out", "contrastive": "candidates"}.get(task.kind)
    if count is None or key is None:
        return task
    return TaskConfig.from_dict({**task.to_dict(), key: count})


def active_relations(
    relations: Iterable[Relation], tasks: Iterable[TaskConfig]
) -> tuple[tuple[Relation, ...], tuple[Relation, ...]]:
    """(kept, dropped): relations whose two tasks are on, and those that name a known task that is off.

    Raises ValueError for a relation with an unknown task, and for `sequential` or `inverse` from a source that is not
    binary. Source: MODEL §7.
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
        if relation.kind != "feature" and on[relation.source].kind != "binary":
            raise ValueError(
                f"relation {relation.source} → {relation.target}: kind {relation.kind!r} needs a binary source, "
                f"and {relation.source} is {on[relation.source].kind}; use 'feature'"
            )
        kept.append(relation)
    return tuple(kept), tuple(dropped)


def topological_levels(names: Iterable[str], relations: Iterable[Relation]) -> tuple[tuple[str, ...], ...]:
    """Tasks by level: a task stands one level behind its latest source, in the given order within a level.

    Raises ValueError that shows the tasks of a cycle. Source: MODEL §7.
    """
    left, pairs = list(names), [(r.source, r.target) for r in relations]
    levels: list[tuple[str, ...]] = []
    while left:
        waiting = {target for source, target in pairs if source in left}
        level = tuple(name for name in left if name not in waiting)
        if not level:
            raise ValueError(f"relations between tasks form a cycle among: {', '.join(left)}")
        levels.append(level)
        left = [name for name in left if name in waiting]
    return tuple(levels)
