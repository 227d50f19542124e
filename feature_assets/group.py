"""Feature groups: declarations, fitted state, and the base class.

Here belong the declarations (`Column`, `SideInput`), the fitted state of one group (`GroupState`) and `FeatureGroup`,
the base class of every group. Which groups exist and which position each column has belongs to `registry.py`; the
fitted state of all groups together belongs to `state.py`. Source: ARCHITECTURE §2, FEATURES §2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from feature_assets.events.view import View

PADDING = "padding"
"""Name of a channel of a side input that is always 0, to give inputs of different sizes one width."""


class StateError(ValueError):
    """A fitted state that is missing, incomplete, altered, or made for another schema."""


@dataclass(frozen=True)
class Column:
    """One column of the feature vector.

    Attributes:
        name: `group__measure[_window]`.
        meaning: one line of plain language.
        unit: natural unit ("currency", "days", "share", "count" …).
        window: the time that it looks back over ("30 days", "all history").
        sources: contract tables (or parts of them) that it cannot be computed without.
    """

    name: str
    meaning: str
    unit: str
    window: str
    sources: tuple[str, ...] = ("transactions",)


@dataclass(frozen=True)
class SideInput:
    """An input of the model beside the columns.

    Attributes:
        name: unique among all side inputs.
        meaning: one line of plain language.
        shape: of one customer's values, which are stored flat and row-major in a List.
        dtype: of the values.
        channels: names along the last axis, where it has names.
    """

    name: str
    meaning: str
    shape: tuple[int, ...]
    dtype: type[pl.DataType]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupState:
    """The fitted values of one group.

    Attributes:
        arrays: by name; no Python objects, so that they can be stored without pickle.
        meta: JSON values by name.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        objects = [name for name, array in self.arrays.items() if array.dtype.hasobject]
        if objects:
            raise StateError(f"arrays of Python objects cannot be stored without pickle: {objects}")


@dataclass(frozen=True)
class TrainingInputs:
    """Inputs of a group's fit.

    Attributes:
        views: one View a training date, already a bounded sample.
        upstream: for each view, group → normalised columns of the groups in `needs`, in the view's customer order. A
            group that the data set does not have is left out.
        seed: of every random choice.
    """

    views: Sequence[View]
    upstream: Sequence[Mapping[str, pl.DataFrame]]
    seed: int


@dataclass(frozen=True)
class Inputs:
    """Inputs of a group's computation.

    Attributes:
        group: name of the group.
        view: the customers and their events before the as-of instant.
        upstream: group → normalised columns of the groups in `needs`, in the view's customer order.
        fitted: the group's fitted state, or None; groups read it as `state`.
    """

    group: str
    view: View
    upstream: Mapping[str, pl.DataFrame]
    fitted: GroupState | None

    @property
    def state(self) -> GroupState:
        """The group's fitted state.

        Raises:
            StateError: none was given.
        """
        if self.fitted is None:
            raise StateError(f"group {self.group} needs its fitted state: fit it on the training dates first")
        return self.fitted


@dataclass(frozen=True)
class Values:
    """Result of a group's computation: one row for each customer of the view, in the view's order.

    Attributes:
        columns: float [customers, C] in natural units, in the order of the group's columns; NaN is missing. None for a
            group that has no columns.
        sides: side input → [customers, …], flat or of the declared shape.
        known: side input → bool [customers]; a customer for whom it is False has none (null). A side input that is not
            named here is known for every customer.
    """

    columns: np.ndarray | None = None
    sides: Mapping[str, np.ndarray] = field(default_factory=dict)
    known: Mapping[str, np.ndarray] = field(default_factory=dict)


class FeatureGroup(ABC):
    """Base class of a feature group.

    A group declares itself by the attributes below, and overrides `_values`, and `_learn` if it has anything to fit.

    Attributes:
        name: prefix of its columns, and name of the part (or section) of the layout that they fill, in order.
        description: one line of plain language.
        sources: contract tables without which the whole group is absent.
        needs: groups whose normalised columns it reads.
        columns: columns of the feature vector.
        side_inputs: inputs of the model beside them.
    """

    name: str
    description: str
    sources: tuple[str, ...]
    needs: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    side_inputs: tuple[SideInput, ...] = ()

    def fit(self, views: Sequence[View], upstream: Sequence[Mapping[str, pl.DataFrame]], seed: int) -> GroupState:
        """Learn from training dates; empty where the group has nothing to learn. Arguments as in `TrainingInputs`."""
        return self._learn(TrainingInputs(views, upstream, seed))

    def compute(self, view: View, state: GroupState | None, upstream: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """Compute the group for the customers of `view`.

        Args:
            view: the customers and their events before the as-of instant.
            state: result of `fit`; may be None for a group that learns nothing.
            upstream: group → normalised columns of the groups in `needs`.

        Returns:
            `customer_id`, the columns (Float32, null where missing), the side inputs (List, null where not known); one
            row for each customer of the view, in its order.

        Raises:
            StateError: the group learns something, and no state was given.
            ValueError: the values are of another shape than declared, or infinite.
        """
        return self._frame(view, self._values(Inputs(self.name, view, upstream, state)))

    def _learn(self, training: TrainingInputs) -> GroupState:  # noqa: ARG002 — by default nothing is learnt
        """Fit the group on training dates."""
        return GroupState()

    def uses(self, state: GroupState) -> tuple[str, ...]:  # noqa: ARG002 — by default nothing beyond `sources`
        """Contract tables beyond `sources` that a state was fitted with: without them `compute` refuses it."""
        return ()

    def facts(self, state: GroupState) -> dict[str, str]:  # noqa: ARG002 — by default nothing
        """What a person should know of a fit, by name: it stands beside the group in the UI."""
        return {}

    def columns_of_values(self, state: GroupState) -> Mapping[str, Mapping[str, str]]:  # noqa: ARG002 — by default none
        """A category, a channel or a kind of products → measure → the column that measures it. Measures of one name
        mean the same of every value."""
        return {}

    @abstractmethod
    def _values(self, inputs: Inputs) -> Values:
        """Compute the values of the columns and side inputs."""

    def _frame(self, view: View, values: Values) -> pl.DataFrame:
        if set(values.sides) != {side.name for side in self.side_inputs}:
            declared = [side.name for side in self.side_inputs]
            raise ValueError(f"group {self.name} computed side inputs {list(values.sides)}; it declares {declared}")
        sides = [_lists(side.name, values.sides[side.name], values.known.get(side.name)) for side in self.side_inputs]
        return pl.DataFrame([view.customers["customer_id"], *self._series(values.columns, view), *sides])

    def _series(self, matrix: np.ndarray | None, view: View) -> list[pl.Series]:
        """The columns as Float32; NaN becomes null."""
        names = [column.name for column in self.columns]
        expected = (view.customers.height, len(names))
        if matrix is None and not names:
            return []
        if matrix is None or matrix.shape != expected:
            shape = None if matrix is None else matrix.shape
            raise ValueError(f"group {self.name} computed columns of shape {shape}; expected {expected}")
        if np.isinf(matrix).any():
            bad = [name for name, column in zip(names, matrix.T, strict=True) if np.isinf(column).any()]
            raise ValueError(f"infinite values in {bad[:5]}")
        values = np.ascontiguousarray(matrix.T, dtype=np.float32)
        return [pl.Series(name, values[i], nan_to_null=True) for i, name in enumerate(names)]


def _lists(name: str, values: np.ndarray, known: np.ndarray | None) -> pl.Series:
    """An array [customers, …] as one List a customer, flat and row-major; null where not `known`."""
    flat = np.ascontiguousarray(values).reshape(len(values), math.prod(values.shape[1:]))
    dtype = pl.List(pl.Boolean) if values.dtype == bool else pl.List(pl.Float32)
    lists = pl.Series(name, flat if len(flat) else []).cast(dtype)
    if known is None:
        return lists
    return pl.select(pl.when(pl.Series(known)).then(lists).alias(name)).to_series()
