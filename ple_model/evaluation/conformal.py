"""Regions that hold a row's label with a stated probability: intervals of values, sets of classes.

Both are split conformal: read off validation rows that took no part in training, they hold the label of a new
exchangeable row with at least the stated probability, whatever the model.

`Intervals`: prediction ± half-width, the ⌈(n + 1)·level⌉-th smallest residual of the rows of the same bin, within the
range of the validation labels. Bins are quintiles of the prediction, each in three by the uncertainty where the task
publishes one: wide where the model is often wrong (Mondrian conformal prediction, Vovk 2012).

`Sets`: all classes whose probability reaches one threshold, and the likeliest class in any case. Of all sets of that
coverage they are the smallest on average (least ambiguous set-valued classifiers, Sadinle, Lei and Wasserman 2019);
adaptive sets (Romano, Sesia and Candès 2020) were as large or larger on every class task of the embedded data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ple_model.evaluation.kind import Bools, Floats, Ints

LEVEL = 0.90
MIN_ROWS = 100  # fewer labelled validation rows: no region
VALUE_BINS = 5  # of the prediction
UNCERTAINTY_BINS = 3
MIN_BIN_ROWS = 50  # fewer rows a bin: fewer bins


class Region(ABC):
    """A fitted kind of region. Subclasses are frozen dataclasses; `form` names the class in files, `level` is the
    stated coverage."""

    form: ClassVar[str]
    level: float

    @abstractmethod
    def of(self, predictions: Floats, u: Floats | None, shown: Floats) -> NDArray:
        """Regions of n rows: [n, 2] low and high (of several outputs, of their sum), or [n, K] whether a class is
        inside. They hold what is shown.

        Args:
            predictions: calibrated ones.
            u: [n] in [0, 1] where the task publishes one.
            shown: predictions that the region stands beside; they differ where a base rate stands in.
        """

    @abstractmethod
    def holds(self, found: NDArray, labels: NDArray) -> Bools:
        """[n] whether a region of `of` holds the label; of several outputs, their sum."""

    @abstractmethod
    def sizes(self, found: NDArray) -> Floats:
        """[n] width or number of classes."""

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"form": self.form, **asdict(self)}  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """From the fields of `to_dict`. Raises TypeError for an unknown or missing one."""
        return cls(**{name: _tuples(value) for name, value in fields.items()})


@dataclass(frozen=True)
class Intervals(Region):
    """Half-widths [value bins][uncertainty bins] in the label's unit.

    `edges`: predictions in (edges[i−1], edges[i]] are in bin i. `u_edges` likewise; empty where u is not read. `floor`,
    `ceiling`: smallest and largest validation label.
    """

    form: ClassVar[str] = "intervals"
    edges: tuple[float, ...]
    u_edges: tuple[float, ...]
    half_widths: tuple[tuple[float, ...], ...]
    floor: float
    ceiling: float
    level: float = LEVEL
    rows: int = 0

    @classmethod
    def fit(cls, predictions: Floats, labels: Floats, u: Floats | None, level: float = LEVEL) -> Intervals | None:
        """From predictions [n] and labels [n] of validation rows, and their u [n]; None with too few rows."""
        if len(labels) < MIN_ROWS:
            return None
        most = max(1, min(VALUE_BINS, len(labels) // MIN_BIN_ROWS))
        edges = np.unique(np.quantile(predictions, np.linspace(0, 1, most + 1)[1:-1]))
        # A bin can run short where predictions are tied; it then joins its left neighbour (the first one its right).
        while len(edges) and (rows := np.bincount(_bin(edges, predictions), minlength=len(edges) + 1)).min() < (
            MIN_BIN_ROWS / 2
        ):
            edges = np.delete(edges, max(int(rows.argmin()) - 1, 0))
        u_edges = np.zeros(0) if u is None else np.linspace(0, 1, UNCERTAINTY_BINS + 1)[1:-1]
        residual = np.abs(labels - predictions)
        value_bin = _bin(edges, predictions)
        u_bin = np.zeros(len(labels), dtype=np.int64) if u is None else _bin(u_edges, u)
        widths = []
        for b in range(len(edges) + 1):
            whole = conformal_quantile(residual[value_bin == b], level)
            parts = [residual[(value_bin == b) & (u_bin == c)] for c in range(len(u_edges) + 1)]
            widths.append(
                tuple(conformal_quantile(part, level) if len(part) >= MIN_BIN_ROWS else whole for part in parts)
            )
        low, high = float(labels.min()), float(labels.max())
        return cls(tuple(edges.tolist()), tuple(u_edges.tolist()), tuple(widths), low, high, level, len(labels))

    def half_width(self, predictions: Floats, u: Floats | None) -> NDArray[np.float64]:
        """[n] half-width in the label's unit.

        Raises:
            ValueError: no u, although the widths depend on it.
        """
        if u is None and self.u_edges:
            raise ValueError("these intervals depend on the uncertainty of the rows, which is missing")
        u_bin = _bin(self.u_edges, u) if u is not None and self.u_edges else np.zeros(len(predictions), dtype=np.int64)
        return np.asarray(self.half_widths)[_bin(self.edges, predictions), u_bin]

    def of(self, predictions: Floats, u: Floats | None, shown: Floats) -> NDArray[np.float64]:
        value, beside = (x if x.ndim == 1 else x.sum(axis=1) for x in (predictions, shown))
        width = self.half_width(value, u)
        low = np.minimum(np.clip(value - width, self.floor, self.ceiling), beside)
        high = np.maximum(np.clip(value + width, self.floor, self.ceiling), beside)
        return np.stack([low, high], axis=1)

    def holds(self, found: NDArray, labels: NDArray) -> Bools:
        value = labels if labels.ndim == 1 else labels.sum(axis=1)
        return np.asarray((found[:, 0] <= value) & (value <= found[:, 1]))

    def sizes(self, found: NDArray) -> Floats:
        return np.asarray(found[:, 1] - found[:, 0], dtype=np.float64)


@dataclass(frozen=True)
class Sets(Region):
    """Classes whose probability falls short of 1 by at most `shortfall`."""

    form: ClassVar[str] = "sets"
    shortfall: float
    level: float = LEVEL
    rows: int = 0

    @classmethod
    def fit(cls, predictions: Floats, labels: Ints, level: float = LEVEL) -> Sets | None:
        """From probabilities [n, K] and classes [n] of validation rows; None with too few rows."""
        if len(labels) < MIN_ROWS:
            return None
        missing = 1.0 - predictions[np.arange(len(labels)), labels]
        return cls(conformal_quantile(missing, level), level, len(labels))

    def of(self, predictions: Floats, u: Floats | None, shown: Floats) -> NDArray[np.bool_]:
        inside = 1.0 - predictions <= self.shortfall
        inside[np.arange(len(shown)), shown.argmax(axis=1)] = True
        return np.asarray(inside)

    def holds(self, found: NDArray, labels: NDArray) -> Bools:
        return np.asarray(found[np.arange(len(labels)), labels])

    def sizes(self, found: NDArray) -> Floats:
        return np.asarray(found.sum(axis=1), dtype=np.float64)


_FORMS: dict[str, type[Region]] = {region.form: region for region in (Intervals, Sets)}


def region_from_dict(data: Mapping[str, Any]) -> Region:
    """The region that `Region.to_dict` described.

    Raises:
        ValueError: an unknown form.
        TypeError: an unknown or missing field.
    """
    fields = dict(data)
    form = fields.pop("form", None)
    if form not in _FORMS:
        raise ValueError(f"region of unknown form {form!r}; known: {sorted(_FORMS)}")
    return _FORMS[form].from_fields(fields)


def conformal_quantile(residuals: Floats, level: float) -> float:
    """The ⌈(n + 1)·level⌉-th smallest of n residuals: the finite-sample quantile of split conformal prediction.

    Raises:
        ValueError: fewer residuals than a finite quantile needs (9 at a level of 0.9).
    """
    k = int(np.ceil((len(residuals) + 1) * level - 1e-9))
    if k > len(residuals):
        raise ValueError(f"{len(residuals)} residuals have no finite conformal quantile at {level}")
    return float(np.partition(residuals, k - 1)[k - 1])


def _bin(edges: Any, values: Floats) -> Ints:
    return np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="left")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
