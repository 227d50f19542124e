"""One declaration a task: what is predicted, for whom, from which label, and with which settings of the model.

Everything that knows a task derives from its `Task`: labels, base rates, the leak check, the model's configuration,
the UI and the scores' metadata. The tasks themselves stand in one module a task group; `registry.py` lists them.
Source: DATA §3; MODEL §2, §7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from feature_assets.data.dataset import DatasetConfig
from feature_assets.labels.constants import ACTIVE_DAYS, EFFECT_DAYS, LONG_WINDOWS
from feature_assets.labels.context import Snapshot, Training
from feature_assets.labels.kinds import LabelKind

Window = Callable[[DatasetConfig], int]
"""Length of a label window in days, from the description of the data set."""


def one_horizon(dataset: DatasetConfig) -> int:
    """H days."""
    return dataset.horizon_days


def three_horizons(dataset: DatasetConfig) -> int:
    """3 H days."""
    return LONG_WINDOWS * dataset.horizon_days


def campaign_horizon(dataset: DatasetConfig) -> int:
    """Days in which an exposure and its click or conversion count."""
    return dataset.campaign_horizon_days


@dataclass(frozen=True)
class Eligibility:
    """The rows that have a label.

    Attributes:
        words: in plain language; may name {horizon}, {days} and {active}.
        rows: a Boolean for each known customer (null = no); None where the label itself is null for the others.
    """

    words: str
    rows: Callable[[Snapshot], pl.Series] | None = None


EVERYONE = Eligibility("every customer known before the as-of date")
ACTIVE = Eligibility("customers with a purchase in the last {active} days", lambda s: s.purchases["active"])
BUYERS = Eligibility("customers with a purchase in the next {days} days")


@dataclass(frozen=True)
class Reads:
    """A relation: the task's tower also reads the prediction of `source`, in the form `kind`. Source: MODEL §7."""

    source: str
    kind: Literal["feature", "sequential", "inverse"] = "feature"


@dataclass(frozen=True)
class ModelSettings:
    """The model's settings for a task, as plain values. Source: MODEL §2.

    Attributes:
        loss: name of the loss.
        hmm: mode of the hidden Markov models that the task reads.
        weight: weight of the loss.
        experts: preferred experts.
        out: width of the output: 1, the number of classes, or the width of a query.
        reads: relations of which the task is the target.
        more: settings that only this loss reads, e.g. focal_alpha.
    """

    loss: str
    hmm: str
    weight: float = 1.0
    experts: tuple[str, ...] = ()
    out: int = 1
    reads: tuple[Reads, ...] = ()
    more: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: unique; the name of the label column and of the score column.
        meaning: one sentence in plain language; may name {days} (the window), {horizon} (H), {active} (56) and
            {effect} (28 days).
        unit: of the label, where the kind does not say it.
        kind: kind of the label.
        group: task group of the model.
        window: length of the label window; the label reads nothing at or after t + window.
        eligibility: which rows have a label.
        label: the label of each known customer [N], in `Snapshot.known`'s order; null = no label.
        model: the model's settings.
        classes: names of the classes, fixed or fitted on training windows; None without classes.
        fit: fields of `LabelState` that the label needs, fitted on training windows.
        needs: contract tables without which every label is null.
        default: whether the task is on unless a data set switches it off.
    """

    name: str
    meaning: str
    kind: LabelKind
    group: str
    label: Callable[[Snapshot], pl.Series]
    model: ModelSettings
    unit: str = ""
    window: Window = one_horizon
    eligibility: Eligibility = EVERYONE
    classes: Sequence[str] | Callable[[Training], list[str]] | None = None
    fit: Callable[[Training], dict[str, Any]] | None = None
    needs: tuple[str, ...] = ()
    default: bool = True

    def fitted_classes(self, training: Training) -> list[str] | None:
        """Names of the classes, None without classes."""
        if self.classes is None:
            return None
        return self.classes(training) if callable(self.classes) else list(self.classes)

    def column(self, snapshot: Snapshot) -> pl.Series:
        """The label column [N] in the kind's type; null for customers who are not eligible."""
        if not self._answerable(snapshot):
            return pl.Series(self.name, [None] * snapshot.known.height, dtype=self.kind.dtype)
        label = self.label(snapshot).alias(self.name)
        if self.eligibility.rows is not None:
            eligible = self.eligibility.rows(snapshot).alias("eligible")
            label = pl.select(pl.when(eligible).then(label).alias(self.name)).to_series()
        return label.cast(self.kind.dtype)

    def _answerable(self, snapshot: Snapshot) -> bool:
        fitted = self.classes is None or self.name in snapshot.state.classes
        return fitted and all(snapshot.tables.has(table) for table in self.needs)

    def for_model(self, classes: int | None = None) -> dict[str, Any]:
        """Plain values for `TaskConfig.from_dict` of `ple_model.tasks`.

        Args:
            classes: number of classes or candidates in this data set; None for the default.
        """
        values: dict[str, Any] = {
            "name": self.name,
            "group": self.group,
            "kind": self.kind.name,
            "loss": self.model.loss,
            "out": self.model.out,
            "weight": self.model.weight,
            "experts": list(self.model.experts),
            "hmm": self.model.hmm,
            **self.model.more,
        }
        if classes is not None and self.kind.counted is not None:
            values[self.kind.counted] = classes
        return values

    def describe(self, dataset: DatasetConfig) -> dict[str, Any]:
        """The entry of `tasks.json`: name, meaning, unit, kind, group, window_days, eligibility, and fixed classes."""
        window = self.window(dataset)
        values = {"days": window, "horizon": dataset.horizon_days, "active": ACTIVE_DAYS, "effect": EFFECT_DAYS}
        described: dict[str, Any] = {
            "name": self.name,
            "meaning": self.meaning.format(**values),
            "unit": self.unit,
            "kind": self.kind.name,
            "group": self.group,
            "window_days": window,
            "eligibility": self.eligibility.words.format(**values),
        }
        if self.classes is not None and not callable(self.classes):
            described["classes"] = list(self.classes)
        return described
