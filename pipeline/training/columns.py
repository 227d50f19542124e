"""The columns that a model reads, chosen on training rows only, and the range that each of them is read in.

- `reference` reads the columns that the design lists, as far as the data set has them; `all` reads every one.
- `chosen` reads those that save boosted trees most loss on any task (`ple_model.boosting.choice`), and those that
  measure a class of a task (`measures_of`); those of the design where rows are too few for trees. A column that tells
  little but the date is left out (`clocks`): on the next nights it has values that training never saw.

Whatever is read is bounded to the range of its training values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets import registry
from feature_assets.build import groups_of
from feature_assets.labels import get_task
from feature_assets.snapshots import SnapshotPlan
from feature_assets.state import FeatureState
from pipeline.settings import Settings
from pipeline.training.training_set import rows_of
from pipeline.training.workspace import Workspace

if TYPE_CHECKING:
    from ple_model.boosting.fit import BoostingTask

CLOCK_SHARE = 0.9
"""A column is a clock if so many of its newest training values lie outside all that earlier snapshots had."""


@dataclass(frozen=True)
class ColumnChoice:
    """The columns that a model reads.

    read: their names. bounds: column → lowest and highest training value. table: a row a column that the data set has,
    for people. by_task: task → the columns that it gains most from, which its own expert reads; empty where no trees
    have chosen.
    """

    read: tuple[str, ...]
    bounds: dict[str, tuple[float, float]]
    table: list[dict[str, Any]]
    by_task: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The choice that `to_dict` described."""
        bounds = {name: (float(low), float(high)) for name, (low, high) in data["bounds"].items()}
        return cls(tuple(data["read"]), bounds, list(data["table"]), dict(data["by_task"]))

    def summary(self) -> dict[str, int]:
        """How many columns the data set has, and how many of them are read."""
        return {"columns of the data set": len(self.table), "columns read": len(self.read)}


def choose(workspace: Workspace, plan: SnapshotPlan, settings: Settings, log: Callable[[str], None]) -> ColumnChoice:
    """Choose the columns as `Settings.columns` says, or take up the choice of an interrupted training.

    Raises:
        ValueError: no column is left.
    """
    if workspace.has_columns():
        return ColumnChoice.from_dict(workspace.columns())
    present = workspace.state().present
    features, labels = rows_of_role(workspace, "train", present)
    low, high = _range(features)
    days = labels["as_of"].to_numpy()
    listed = set(reference())
    not_listed = {name: "not among those of the design" for name in present if name not in listed}
    reasons: dict[str, str] = {}
    gains: dict[str, NDArray[np.float64]] = {}
    if settings.columns == "reference":
        reasons = not_listed
    elif settings.columns == "chosen":
        from ple_model.boosting.choice import column_gains
        from ple_model.boosting.matrix import BinnedMatrix

        ahead = plan.as_of - plan.train[-1]
        outside = clocks(features, days, ahead)
        reasons = {
            name: f"tells the date: {share:.0%} of its newest training values lie outside all earlier ones"
            for name, share in zip(present, outside, strict=True)
            if share >= CLOCK_SHARE
        }
        kept = np.array([name not in reasons for name in present])
        matrix = BinnedMatrix(features[:, kept], np.arange(len(features)), max_bin=settings.column_budget.trees.max_bin)
        found = column_gains(matrix, tasks_of(labels, plan, workspace), settings.column_budget, settings.seed)
        if not any(share.any() for share in found.values()):
            log("so few rows give no column a gain for any task: those of the design are read")
            reasons, found = not_listed | reasons, {}
        for task, share in found.items():
            gains[task] = np.zeros(len(present))
            gains[task][kept] = share
    per_task = settings.column_budget.per_task if gains else None
    of_classes = _of_classes(workspace, plan) if gains else {}
    choice = _choice(present, (low, high), gains, of_classes, reasons, per_task)
    if not choice.read:
        raise ValueError("no column is left to read: no task gains from any")
    log(f"{len(choice.read)} of {len(present)} columns are read ({settings.columns})")
    workspace.save_columns(choice.to_dict())
    return choice


def measures_of(state: FeatureState, classes: Sequence[str]) -> tuple[dict[str, str], ...]:
    """For each class what measures it: measure → column (`FeatureGroup.columns_of_values`)."""
    found: dict[str, dict[str, str]] = {}
    for group in groups_of(state):
        for value, columns in registry.registry()[group].columns_of_values(state.groups[group]).items():
            found.setdefault(value, {}).update(columns)
    return tuple(found.get(name, {}) for name in classes)


def _of_classes(workspace: Workspace, plan: SnapshotPlan) -> dict[str, set[str]]:
    """Task → the columns that measure one of its classes, of tasks whose classes exclude each other."""
    from ple_model.tasks import KINDS

    state, classes = workspace.state(), workspace.label_state().classes
    found = {}
    for task in plan.windows:
        if KINDS[get_task(task).kind.name].exclusive and task in classes:
            found[task] = {column for measures in measures_of(state, classes[task]) for column in measures.values()}
    return found


def reference() -> tuple[str, ...]:
    """Names of the columns that the design lists."""
    return tuple(registry.names()[i] for i in registry.reference())


def rows_of_role(workspace: Workspace, role: str, columns: Sequence[str]) -> tuple[NDArray[np.float32], pl.DataFrame]:
    """Features [n, columns] of all rows of a role, NaN where missing, and their labels."""
    features, labels = [], []
    for part, known in rows_of(workspace, role, ["customer_id", *columns]):
        features.append(part.select(pl.col(columns).cast(pl.Float32).fill_null(np.nan)).to_numpy())
        labels.append(known)
    return np.concatenate(features), pl.concat(labels)


def tasks_of(labels: pl.DataFrame, plan: SnapshotPlan, workspace: Workspace) -> "dict[str, BoostingTask]":
    """What trees learn of every task from a table of labels; tasks without a label are left out."""
    from ple_model.boosting.fit import BoostingTask
    from ple_model.config import TaskConfig
    from ple_model.tasks import kind_of

    counts = {task: len(names) for task, names in workspace.label_state().classes.items()}
    found = {}
    for name in plan.windows:
        task = TaskConfig.from_dict(get_task(name).for_model(counts.get(name)))
        kind = kind_of(task)
        values, mask = kind.targets(task, labels[name])
        if mask.any():
            found[name] = BoostingTask(kind, values, mask, kind.width(task))
    return found


def clocks(features: NDArray[np.float32], days: NDArray, ahead: timedelta) -> NDArray[np.float64]:
    """[c] share of a column's values at the newest training date that lie outside the range of all earlier dates.

    Earlier are the dates at least `ahead` before the newest one, as the training rows are before the night that the
    model is for; where there are none, the first half of the dates. A column without a value has share 0.

    Args:
        features: [n, c], NaN where missing.
        days: [n] as-of date of each row.
        ahead: from the newest training date to the first night.
    """
    dates = np.unique(days)
    earlier = dates[dates <= dates[-1] - np.timedelta64(ahead.days, "D")]
    if not len(earlier):
        earlier = dates[: len(dates) // 2]
    if not len(earlier):
        return np.zeros(features.shape[1])
    low, high = _range(features[np.isin(days, earlier)])
    newest = features[days == dates[-1]]
    given = ~np.isnan(newest)
    outside = given & ((newest < low) | (newest > high))
    return outside.sum(axis=0) / np.maximum(given.sum(axis=0), 1)


def _range(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest value [c] of every column; 0 for one without any."""
    empty = np.isnan(features).all(axis=0)
    low = np.where(empty, 0, np.fmin.reduce(features, axis=0, initial=np.inf))
    high = np.where(empty, 0, np.fmax.reduce(features, axis=0, initial=-np.inf))
    return low.astype(np.float32), high.astype(np.float32)


def _choice(
    present: Sequence[str],
    bounds: tuple[NDArray[np.float32], NDArray[np.float32]],
    gains: Mapping[str, NDArray[np.float64]],
    of_classes: Mapping[str, set[str]],
    reasons: Mapping[str, str],
    per_task: int | None,
) -> ColumnChoice:
    from ple_model.boosting.choice import ranks, wanted

    places = {task: ranks(found) for task, found in gains.items() if found.any()}
    wants = wanted(gains, per_task) if per_task else {}
    read, table = [], []
    by_task: dict[str, list[str]] = {}
    for i, name in enumerate(present):
        tasks = [task for task, found in wants.items() if found[i]]
        reason = reasons.get(name, "")
        measured = [task for task, columns in of_classes.items() if name in columns]
        if not reason and per_task and not tasks and not measured:
            reason = f"not among the {per_task} columns of most gain for any task"
        if not reason:
            read.append(name)
            for task in tasks:
                by_task.setdefault(task, []).append(name)
        row: dict[str, Any] = {"column": name, "read": not reason}
        if per_task:
            best = min(places, key=lambda task: int(places[task][i])) if places else ""
            gained = bool(places) and name not in reasons
            row |= {
                "best rank": int(places[best][i]) if gained else None,
                "of task": best if gained else "",
                "wanted by": ", ".join(sorted(tasks)),
                "measures a class of": ", ".join(sorted(measured)),
            }
        table.append(row | {"left out because": reason})
    limits = {n: (float(low), float(high)) for n, low, high in zip(present, *bounds, strict=True) if n in set(read)}
    return ColumnChoice(tuple(read), limits, table, by_task)
