"""A catalogue for the model's tests: the 18 tasks of MODEL §2 and the relations of §7.

The product's tasks are declared by `feature_assets.labels`; the library takes whatever it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ple_model.closed import nearest
from ple_model.tasks import Relation, TaskConfig, kind_of
from ple_model.tasks.config import Loss, Mode

_MODES: dict[str, Mode] = {
    "engagement": "journey",
    "lifecycle": "lifecycle",
    "value": "behavior",
    "consumption": "behavior",
}


def _task(name: str, group: str, kind: str, loss: Loss, weight: float, experts: str, **more: Any) -> TaskConfig:
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
    _task("uplift", "engagement", "uplift", "mse", 1.0, ""),
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
    _task("category_uplift", "consumption", "uplift", "mse", 1.5, "", out=12),
    _task("brand_prediction", "consumption", "contrastive", "infonce", 2.0, "unified_hgcn", out=128),
    _task("merchant_affinity", "consumption", "regression", "huber", 1.0, "unified_hgcn temporal"),
)

TASK_NAMES: tuple[str, ...] = tuple(task.name for task in _CATALOGUE)
OFF_BY_DEFAULT: tuple[str, ...] = ("uplift", "category_uplift")

RELATIONS: tuple[Relation, ...] = (
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

    classes: task → number of classes, candidates or outputs. Raises ValueError for an unknown name.
    """
    wanted, classes = set(names), classes or {}
    for name in sorted(wanted):
        if name not in TASK_NAMES:
            raise ValueError(f"unknown task {name!r}; {nearest(name, TASK_NAMES)}")
    return tuple(_with_classes(task, classes.get(task.name)) for task in _CATALOGUE if task.name in wanted)


def _with_classes(task: TaskConfig, count: int | None) -> TaskConfig:
    if count is None:
        return task
    return TaskConfig.from_dict({**task.to_dict(), **kind_of(task).with_classes(count)})
