"""The base of the kinds of task. `EvaluatedKind` and `BoostedKind` hold the questions of evaluation and boosting; those
of networks, losses and scores are here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ple_model.boosting.kind import BoostedKind
from ple_model.evaluation.kind import Floats, Ints

if TYPE_CHECKING:
    from torch import Tensor

    from ple_model.tasks.config import TaskConfig


class Scale(Protocol):
    """Mean and standard deviation of a task's labels."""

    def standardise(self, label: Tensor) -> Tensor: ...

    def restore(self, value: Tensor) -> Tensor: ...


class Table(Protocol):
    """The learnt candidates of a task."""

    def scores(self, query: Tensor, beside: Tensor | None = None) -> Tensor: ...

    def loss(self, query: Tensor, labels: Tensor, negatives: int, beside: Tensor | None = None) -> Tensor: ...

    def set_frequency(self, counts: Tensor) -> None: ...


class Units(Protocol):
    """A network's way from raw outputs to the units of labels: scales of regressions, candidate tables."""

    def scale(self, task: str) -> Scale: ...

    def table(self, task: str) -> Table: ...

    def set_target_scale(self, task: str, mean: Tensor, std: Tensor) -> None: ...


class Kind(BoostedKind):
    """One kind of task. Instances hold no state; a method gets the task's settings where it needs them.

    Attributes:
        losses: names of the losses that fit the kind.
        plain_loss: the one of them that is a likelihood or a squared error, unweighted.
        standardised: whether networks predict standardised labels and hold their scale.
        retrieves: whether networks hold a table of candidates for the task.
        is_probability: whether the raw output is one logit, of which a complement and a chain rule make sense.
        exclusive: whether exactly one of several classes applies, so that one of them may say "none".
        meaning_of_value: what the score column named as the task holds, for people.
        summed_up_as: what sums up the predictions of many rows, for people.
        judged_by_scores: whether scores are published in the form in which the kind is measured.
        explained_in: unit in which reasons of a prediction add up, for people.
    """

    losses: ClassVar[tuple[str, ...]]
    plain_loss: ClassVar[str]
    standardised: ClassVar[bool] = False
    retrieves: ClassVar[bool] = False
    is_probability: ClassVar[bool] = False
    exclusive: ClassVar[bool] = False
    meaning_of_value: ClassVar[str]
    summed_up_as: ClassVar[str]
    judged_by_scores: ClassVar[bool] = True
    explained_in: ClassVar[str] = "the label's unit"

    # --- settings ---------------------------------------------------------------------------------------------
    def check(self, task: TaskConfig) -> None:
        """Raises ValueError for settings that do not fit the kind."""
        if task.loss not in self.losses:
            fitting = " or ".join(self.losses)
            raise ValueError(f"task {task.name!r}: loss {task.loss!r} does not fit kind {self.name!r}; use {fitting}")
        if task.none_class is not None and not self.exclusive:
            raise ValueError(f"task {task.name!r}: kind {self.name!r} has no classes of which one could be none_class")

    def with_classes(self, count: int) -> dict[str, int]:
        """Settings of a task that follow from the number of classes, brands or outputs of a data set."""
        return {}

    @abstractmethod
    def width(self, task: TaskConfig) -> int:
        """Numbers in one prediction: classes, candidates or outputs; else 1."""

    def shape(self, task: TaskConfig) -> tuple[int, ...]:
        """Shape of one row's prediction: () for a number, else (width,). The places of a wide one have names."""
        return () if self.width(task) == 1 else (self.width(task),)

    # --- labels and losses (torch) ----------------------------------------------------------------------------
    @abstractmethod
    def targets(self, task: TaskConfig, column: pl.Series) -> tuple[NDArray, NDArray[np.bool_]]:
        """Values and mask [R] of a column of labels, in the form of `Targets`; null is a masked label.

        Raises:
            ValueError: labels that are none, with the first of them and what was expected.
        """

    @abstractmethod
    def row_losses(
        self,
        task: TaskConfig,
        raw: Tensor,
        label: Tensor,
        mask: Tensor,
        units: Units,
        training: bool,
        beside: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Unweighted loss of each row [B], arbitrary but finite where masked, and the mask of rows that count [B].

        Args:
            task: settings of its loss.
            raw: raw outputs [B, out].
            label: as in `Targets`; masked ones are never read.
            mask: [B] bool, True = labelled.
            units: of the network.
            training: False compares a contrastive query with the whole table.
            beside: [B, candidates] to add to a contrastive task's scores, or None (`Outputs.beside`).
        """

    @abstractmethod
    def constant_loss(self, task: TaskConfig, labels: Tensor, units: Units) -> float:
        """Loss of the best constant prediction on these labels, all of them labelled."""

    def fit_units(self, task: TaskConfig, labels: Tensor, units: Units) -> None:
        """Sets the network's scale or candidate frequencies from training labels, all of them labelled."""

    # --- predictions (torch) ----------------------------------------------------------------------------------
    @abstractmethod
    def to_units(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        """Raw outputs [B, out] → predictions in final units before calibration, [B, *shape]. beside: as in
        `row_losses`."""

    def uncalibrated(self, task: TaskConfig, raw: Tensor, units: Units, beside: Tensor | None = None) -> Tensor:
        """Raw outputs [B, out] → what a calibrator reads, [B, *shape]: logits, values or scores."""
        return self.to_units(task, raw, units, beside)

    @abstractmethod
    def average(self, raw: Tensor) -> Tensor:
        """Raw outputs of M members [M, B, out] → the one [B, out] whose prediction is the mean of theirs."""

    @abstractmethod
    def spread(self, raw: Tensor) -> Tensor:
        """How far the predictions of M members [M, B, out] lie apart, [B] ≥ 0."""

    # --- evidential heads (torch) -----------------------------------------------------------------------------
    def evidence_classes(self, task: TaskConfig, buckets: int) -> int | None:
        """Classes that a Dirichlet head collects evidence over; None for a normal-inverse-gamma head.

        Args:
            task: the task.
            buckets: most classes of a task with many candidates.
        """
        return self.width(task)

    def evidence_labels(
        self,
        task: TaskConfig,
        label: Tensor,
        mask: Tensor,
        classes: int | None,
        standardise: Callable[[str, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Labels [B, M] as an evidential head reads them (classes, −1 = padding; or standardised values), and the mask.

        Args:
            task: the task.
            label: [B, M], 0 where masked.
            mask: [B] bool, True = labelled.
            classes: of `evidence_classes`.
            standardise: (task, label in its unit) → standardised label.
        """
        return label.long(), mask

    def metric_title(self, metric: str, names: Sequence[str]) -> str:
        """A metric's name for people; `names` of classes, brands or outputs."""
        return metric

    # --- explanations -----------------------------------------------------------------------------------------
    def chosen(self, task: TaskConfig, predictions: Floats, names: Sequence[str]) -> Ints | None:
        """[R] the place of each row that an explanation is of: the likeliest brand, or class that says that something
        happens; None for kinds whose prediction is explained as a whole. `names` of classes, brands or outputs."""
        return None

    def explained(self, predictions: Floats, chosen: Ints | None) -> Floats:
        """[R] predictions in the unit in which reasons add up; several outputs count as their sum."""
        outputs = self.outputs_of(predictions)
        if outputs.ndim == 1:
            return outputs
        return outputs.sum(axis=1) if chosen is None else outputs[np.arange(len(outputs)), chosen]

    # --- scores -----------------------------------------------------------------------------------------------
    def in_range(self, predictions: Floats) -> Floats:
        """Calibrated predictions, base rates included, brought into the range that the score table promises."""
        return predictions

    @abstractmethod
    def score_columns(
        self, task: TaskConfig, predictions: Floats, names: Sequence[str], base: Sequence[float]
    ) -> list[pl.Series]:
        """Columns of the score table.

        Args:
            task: the task.
            predictions: [R, *shape].
            names: of classes, brands or outputs.
            base: base rate of each of them among the training rows.
        """

    def own_columns(self, task: Mapping[str, Any]) -> dict[str, str]:
        """Suffix → meaning of the columns of `score_columns` beside the first; `task` as for `score_meanings`."""
        return {}

    def region_columns(
        self, task: str, predictions: Floats, region: NDArray | None, names: Sequence[str]
    ) -> list[pl.Series]:
        """Columns of the score table about the regions that hold the label (`conformal.Region`); `names` of classes.
        A kind has the same columns whether a region was fitted or not."""
        return []

    def region_meanings(self) -> dict[str, str]:
        """Suffix → meaning of the columns of `region_columns`; {level} stands for the stated coverage."""
        return {}

    def score_meanings(self, task: Mapping[str, Any]) -> dict[str, str]:
        """Column → meaning for people, of all columns that the model gives a task in the score table.

        Args:
            task: its `name`, and if they are known its `meaning`, `unit`, `natural_unit`, `none_class` and `classes`,
                and what its `uncertainty`, `fallback` and `region_level` are; as in `tasks.json`.
        """
        name = task["name"]
        unit = f" in {task['unit']}" if task.get("unit") else ""
        own = dict(self.own_columns(task))
        if task.get("natural_unit"):
            own["value"] = f"expected value in {task['natural_unit']}; values of many customers add up to their total"
            for end in ("low", "high"):
                if meaning := self._region_meanings(task).get(end):
                    own[f"value_{end}"] = f"{meaning}, in {task['natural_unit']}"
        own |= self._region_meanings(task)
        return {
            name: f"{self.meaning_of_value}{unit}: {task.get('meaning') or name}",
            **{f"{name}__{suffix}": meaning for suffix, meaning in own.items()},
            f"{name}__u": f"uncertainty, 0 to 1; {task.get('uncertainty') or 'null where none is published'}",
            f"{name}__fallback": task.get("fallback") or "true where the cluster's base rate stands in",
        }

    def _region_meanings(self, task: Mapping[str, Any]) -> dict[str, str]:
        level = task.get("region_level")
        return {
            suffix: text.format(level=level or "a stated share")
            if level != ""
            else "null: too few validation rows for a stated coverage"
            for suffix, text in self.region_meanings().items()
        }


def labelled(column: pl.Series) -> NDArray[np.bool_]:
    """[R] True where a label is given."""
    return column.is_not_null().to_numpy().copy()


def refuse(bad: pl.Series, task: str, expected: str) -> None:
    """Raises ValueError with the first of the `bad` labels, if there are any."""
    if len(bad):
        raise ValueError(f"labels of {task}: {bad.head(5).to_list()} ({len(bad)} rows) where {expected} were expected")


def finite_numbers(column: pl.Series, task: str) -> pl.Series:
    """The column as float64. Raises ValueError for values that are not finite."""
    numbers = column.cast(pl.Float64)
    refuse(numbers.filter(numbers.is_not_null() & ~numbers.is_finite()), task, "finite numbers")
    return numbers


def in_order(task: Mapping[str, Any]) -> str:
    """In words, the classes or outputs that the places of a list column stand for; `task` as in tasks.json."""
    names = task.get("classes") or []
    return f" ({', '.join(map(str, names))})" if names else ", in the order of the bundle's classes"


def list_column(name: str, flat: pl.Series, shape: tuple[int, ...]) -> pl.Series:
    """A list column from its values row by row."""
    if not len(flat):
        return pl.Series(name, [], dtype=pl.List(flat.dtype))
    return flat.reshape(shape).arr.to_list().alias(name)
