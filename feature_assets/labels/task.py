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
from feature_assets.data.horizon import LONG_WINDOWS
from feature_assets.labels.buying import Answer
from feature_assets.labels.constants import EFFECT_DAYS
from feature_assets.labels.context import Snapshot, Training
from feature_assets.labels.kinds import LabelKind
from feature_assets.labels.merging import BY_NAME, Merging, relabelled
from feature_assets.labels.natural import Natural
from feature_assets.labels.past import Past
from feature_assets.labels.state import LabelState

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
    """The customers for whom a task is defined at t, by what is known before t.

    Attributes:
        words: in plain language; may name {active}. They end the task's sentence, unless everyone is eligible.
        rows: True for each customer of the past's view who is eligible [N].
        withheld: whether the prediction of all others stays out of the scores (null): it would answer a question that
            does not arise for them.
    """

    words: str
    rows: Callable[[Past], pl.Series]
    withheld: bool = False


@dataclass(frozen=True)
class ByDescription:
    """Classes that the description of the data set decides.

    Attributes:
        names: of the classes.
    """

    names: Callable[[DatasetConfig], list[str]]


EVERYONE = Eligibility("every customer known before the as-of date", Past.everyone)
ACTIVE = Eligibility("customers with a purchase in the last {active} days", lambda past: past.bought)
IN_WORDS = {5: "five", 6: "six", 7: "seven"}
BUYERS = "customers with a purchase in the next {days} days"
"""Which rows of a task about purchases have a label."""


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
        meaning: what is predicted, in plain language; may name {days} (the window), {horizon} (H), {active} (56),
            {effect} (28 days) and {classes} (seven classes). `sentence` adds for whom.
        unit: of the label, where the kind does not say it.
        kind: kind of the label.
        group: task group of the model.
        window: length of the label window; the label reads nothing at or after t + window.
        eligibility: the customers for whom the task is defined at t.
        labelled: which rows have a label, in words, where they are not those of the eligible customers. It may look
            ahead; the label itself is null for all others.
        label: the label of each known customer [N], in `Snapshot.known`'s order; null = no label.
        model: the model's settings.
        classes: names of the classes, fixed, by the description, or fitted on training windows; None without classes.
        none_class: the class that says that nothing happens; the scores name the likeliest of the others, too.
        merging: how its classes merge where too few customers are in some.
        natural: the natural unit of a label on another scale, in which the scores state the expected value, too.
        buying: what a model of repeat buying answers, a baseline of the evaluation; None where it has no answer.
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
    labelled: str = ""
    classes: Sequence[str] | ByDescription | Callable[[Training], list[str]] | None = None
    none_class: str | None = None
    merging: Merging = BY_NAME
    natural: Natural | None = None
    buying: Answer | None = None
    fit: Callable[[Training], dict[str, Any]] | None = None
    needs: tuple[str, ...] = ()
    default: bool = True

    @property
    def sentence(self) -> str:
        """What is predicted, and for whom unless it is everyone."""
        if self.eligibility == EVERYONE:
            return self.meaning
        return f"{self.meaning.removesuffix('.')}, among {self.eligibility.words}."

    def fitted_classes(self, training: Training) -> list[str] | None:
        """Names of the classes, None without classes."""
        return self.classes(training) if callable(self.classes) else self.fixed_classes(training.dataset)

    def fixed_classes(self, dataset: DatasetConfig) -> list[str] | None:
        """Names of the classes as far as no training decides them."""
        if self.classes is None or callable(self.classes):
            return None
        return self.classes.names(dataset) if isinstance(self.classes, ByDescription) else list(self.classes)

    def column(self, snapshot: Snapshot) -> pl.Series:
        """The label column [N] in the kind's type, null without a label: unless `labelled` says otherwise, for all who
        are not eligible."""
        fitted = self.classes is None or self.name in snapshot.state.classes
        if not (fitted and self._sources(snapshot.past)):
            return pl.Series(self.name, [None] * snapshot.known.height, dtype=self.kind.dtype)
        label = self.label(snapshot).alias(self.name)
        if not self.labelled:
            eligible = self.eligible(snapshot.past).alias("eligible")
            label = pl.select(pl.when(eligible).then(label).alias(self.name)).to_series()
        return self._merged(label.cast(self.kind.dtype), snapshot.state)

    def _merged(self, label: pl.Series, state: LabelState) -> pl.Series:
        """Indices of classes before any are merged → those of `LabelState.classes`."""
        return relabelled(label, state.merged[self.name]) if self.name in state.merged else label

    def eligible(self, past: Past) -> pl.Series:
        """Whether the task is defined at t for each customer of the past's view: Boolean [N], by what is known before
        t. Without the tables that the task needs it is defined for nobody."""
        rows = self.eligibility.rows(past) if self._sources(past) else ~past.everyone()
        return rows.alias(self.name)

    def _sources(self, past: Past) -> bool:
        return all(past.view.has(table) for table in self.needs)

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
        if self.none_class is not None:
            values["none_class"] = self.none_class
        return values

    def describe(self, dataset: DatasetConfig) -> dict[str, Any]:
        """The entry of `tasks.json`: name, meaning (`sentence`), unit, natural_unit (empty where the unit is natural or
        the kind says it), kind, group, window_days, eligibility, withheld, labelled, and fixed classes."""
        window = self.window(dataset)
        values: dict[str, Any] = {
            "days": window,
            "horizon": dataset.horizon_days,
            "active": dataset.active_days,
            "effect": EFFECT_DAYS,
        }
        eligible = self.eligibility.words.format(**values)
        classes = self.fixed_classes(dataset)
        if classes is not None:
            values["classes"] = f"{IN_WORDS.get(len(classes), len(classes))} classes"
        described: dict[str, Any] = {
            "name": self.name,
            "meaning": self.sentence.format(**values),
            "unit": self.unit,
            "natural_unit": self.natural.unit if self.natural else "",
            "kind": self.kind.name,
            "group": self.group,
            "window_days": window,
            "eligibility": eligible,
            "withheld": self.eligibility.withheld,
            "labelled": self.labelled.format(**values) or eligible,
        }
        if classes is not None:
            described["classes"] = classes
        return described
