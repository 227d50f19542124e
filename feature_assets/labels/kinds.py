"""The kinds of a label: type of the column, row of the base-rate table, target of the leak check, model settings.

One class a kind; the tasks refer to its instances. What the model does with a kind belongs to `ple_model.tasks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feature_assets.labels.constants import LEAST_CUSTOMERS, LEAST_OF_CLASS

Counted = Literal["out", "candidates"] | None
DEPTH = 4  # of the leak check's tree
LEAVES_A_CLASS = 2  # a multiclass tree may have so many leaves for each class: rare classes are split off last
SHOWN_CLASSES = 4  # in the note of the base-rate table
COMMON_BRANDS = 12  # the contrastive label is checked by its first brand, among the most common ones


@dataclass(frozen=True)
class LeakTarget:
    """The target of the leak check's tree.

    Attributes:
        y: target [N].
        regression: whether the tree is a regression tree (R²) or a classification tree (AUC).
        metric: name of the score.
        limits: settings that limit the tree.
    """

    y: NDArray[Any]
    regression: bool
    metric: str
    limits: dict[str, int]


class LabelKind(ABC):
    """One kind of label.

    Attributes:
        name: the kind's name, the same in `ple_model`.
        dtype: type of the label column.
        counted: the model's setting that the number of classes determines, None if there is none.
    """

    name: ClassVar[str]
    dtype: ClassVar[pl.DataType]
    counted: ClassVar[Counted] = None

    @abstractmethod
    def rate(self, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
        """Columns of the base-rate table for labels without nulls, at least one; `classes` are the names by index."""

    @abstractmethod
    def leak_target(self, label: pl.Series) -> LeakTarget:
        """Target of the leak check, for labels that `comparable` returned, without nulls."""

    def comparable(self, label: pl.Series) -> pl.Series:
        """The label as one number or class a row; null where the leak check leaves the row out."""
        return label

    def scarce(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> str:
        """Why training labels are too few to learn from, in words; empty where they are enough. More rows never make
        them too few.

        They are counted in customers: neighbouring rows of a customer say nearly the same.

        Args:
            label: [n] without nulls.
            customer: [n] whose label it is.
            classes: names by index.
        """
        customers = customer.n_unique()
        if customers < LEAST_CUSTOMERS:
            return f"{customers} customers have a training label, {LEAST_CUSTOMERS} are needed"
        return self._scarce(label, customer, classes)

    def rare(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> list[str]:
        """Classes that should merge with others, by their names: too few customers have a training label of them.
        Arguments as `scarce`."""
        return []

    def _scarce(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> str:
        """`scarce`, where there are customers enough: some of them need another label than the commonest."""
        values = pl.DataFrame({"label": self.comparable(label), "customer": customer})
        ever = values.group_by("customer").agg(pl.col("label").first(), one=pl.col("label").n_unique() == 1)
        alike = ever.filter("one")["label"].value_counts().sort("count", "label").tail(1)
        for value, having in alike.iter_rows():
            others = ever.height - having
            if others < LEAST_OF_CLASS:
                of = f"{others} of {ever.height:,} customers"
                return f"{of} have a training label other than {value:.3g}, {LEAST_OF_CLASS} are needed"
        return ""


class Binary(LabelKind):
    """0 or 1."""

    name = "binary"
    dtype: ClassVar[pl.DataType] = pl.Int8()

    def rate(self, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
        """Share of ones."""
        return {"positive_rate": label.mean()}

    def leak_target(self, label: pl.Series) -> LeakTarget:
        """The label itself."""
        return LeakTarget(label.to_numpy(), False, "AUC", {"max_depth": DEPTH})

    def _scarce(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> str:
        """Either outcome needs its customers."""
        for outcome, name in ((1, "positive"), (0, "negative")):
            having = customer.filter(label == outcome).n_unique()
            if having < LEAST_CUSTOMERS:
                of = f"{having} of {customer.n_unique():,} customers"
                return f"{of} have a {name} training label, {LEAST_CUSTOMERS} are needed"
        return ""


def _shares(found: pl.Series, rows: int, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Share of the rows with each class, by its name, the most frequent first."""
    counts = found.value_counts(sort=True).sort("count", found.name, descending=[True, False])
    return [{"class": classes[index], "share": count / rows} for index, count in counts.iter_rows()]


def _named(shares: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{each['class']} ({each['share']:.1%})" for each in shares[:SHOWN_CLASSES])


class Multiclass(LabelKind):
    """Index of a class."""

    name = "multiclass"
    dtype: ClassVar[pl.DataType] = pl.Int16()
    counted: ClassVar[Counted] = "out"

    def rate(self, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
        """Classes present, and the share of each by its name, the most frequent first."""
        shares = _shares(label, label.len(), classes)
        return {"classes_present": len(shares), "classes": shares, "note": f"most frequent: {_named(shares)}"}

    def leak_target(self, label: pl.Series) -> LeakTarget:
        """The class. Leaves limit the tree: a copy of 28 ordered classes is a long chain of splits."""
        leaves = LEAVES_A_CLASS * max(label.n_unique(), 2)
        return LeakTarget(label.to_numpy(), False, "macro AUC", {"max_leaf_nodes": leaves})

    def _scarce(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> str:
        """Two classes need their customers."""
        having = self.customers_of(label, customer, len(classes))
        common = [name for name, customers in zip(classes, having, strict=True) if customers >= LEAST_OF_CLASS]
        if len(common) < 2:
            one = f"{common[0]!r} is the only class" if common else "there is no class"
            return f"{one} with a training label of {LEAST_OF_CLASS} customers, two are needed"
        return ""

    def customers_of(self, label: pl.Series, customer: pl.Series, classes: int) -> NDArray[np.int64]:
        """Customers who have a label of each class [classes]. Arguments as `scarce`."""
        pairs = pl.DataFrame({"label": label, "customer": customer}).unique()
        return np.bincount(pairs["label"].to_numpy(), minlength=classes)

    def rare(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> list[str]:
        """Classes with too few customers."""
        having = self.customers_of(label, customer, len(classes)).tolist()
        return [name for name, customers in zip(classes, having, strict=True) if customers < LEAST_OF_CLASS]


class Regression(LabelKind):
    """A number in the task's unit."""

    name = "regression"
    dtype: ClassVar[pl.DataType] = pl.Float64()

    def rate(self, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
        """Mean in the label's unit."""
        return {"mean": label.mean()}

    def leak_target(self, label: pl.Series) -> LeakTarget:
        """The rank of the label: sixteen leaves then identify any copy of a feature, whatever its skew."""
        ranks = (label.rank("average") / max(len(label), 1)).to_numpy()
        return LeakTarget(ranks, True, "R² of ranks", {"max_depth": DEPTH})


class Contrastive(Multiclass):
    """A list of distinct candidates (indices), the most frequent first."""

    name = "contrastive"
    dtype: ClassVar[pl.DataType] = pl.List(pl.Int32)
    counted: ClassVar[Counted] = "candidates"

    def rate(self, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
        """Mean number of candidates of a row, how many occur at all, and the share of rows with each."""
        shares = _shares(label.explode(), label.len(), classes)
        return {
            "mean": label.list.len().mean(),
            "classes_present": len(shares),
            "classes": shares,
            "note": f"mean number of distinct brands; bought by most: {_named(shares)}",
        }

    def comparable(self, label: pl.Series) -> pl.Series:
        """The first candidate, where it is one of the most common first candidates."""
        name, first = label.name, label.list.first()
        common = first.drop_nulls().value_counts(sort=True).sort("count", name, descending=[True, False])[name]
        kept = pl.when(pl.col(name).is_in(common.head(COMMON_BRANDS).implode())).then(name)
        return first.to_frame().select(kept)[name]

    def customers_of(self, label: pl.Series, customer: pl.Series, classes: int) -> NDArray[np.int64]:
        """Customers in whose labels each candidate stands [classes]."""
        each = pl.DataFrame({"label": label, "customer": customer}).explode("label")
        return super().customers_of(each["label"], each["customer"], classes)

    def rare(self, label: pl.Series, customer: pl.Series, classes: Sequence[str]) -> list[str]:
        """None: what few buy is found by who they are."""
        return []


class Uplift(Regression):
    """A transformed outcome: a number whose expectation is the effect of a treatment."""

    name = "uplift"


class UpliftByClass(Uplift):
    """A transformed outcome for each class: a list of as many numbers as the task has classes."""

    dtype: ClassVar[pl.DataType] = pl.List(pl.Float64)
    counted: ClassVar[Counted] = "out"

    def rate(self, label: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
        """Mean of the sum over the classes."""
        return super().rate(label.list.sum(), classes) | {"note": "mean of the sum over the classes"}

    def comparable(self, label: pl.Series) -> pl.Series:
        """The sum over the classes."""
        return label.list.sum()


BINARY, MULTICLASS, REGRESSION, CONTRASTIVE = Binary(), Multiclass(), Regression(), Contrastive()
UPLIFT, UPLIFT_BY_CLASS = Uplift(), UpliftByClass()
