"""Binned counts of columns: fixed bins of a reference, and how many rows of another night fall into each.

Numbers fall into bins between the deciles of the reference; a value that many rows share has a bin of its own. Names
and truth values are their own bins, the rarest together. The last bin counts missing values. Counts are all that is
kept: no value of a customer leaves this module.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

TENTHS = np.linspace(0.1, 0.9, 9)
CLASSES = 20
"""Names with a bin of their own; the others share one."""
SCHEMA: dict[str, Any] = {
    "column": pl.String,
    "edges": pl.List(pl.Float64),
    "classes": pl.List(pl.String),
    "counts": pl.List(pl.Int64),
}
"""A reference: one row a column. `edges` of numbers (the upper end of every bin but the last, which has none), or
`classes` of names; `counts` of the reference itself, missing values last."""


def reference_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Bins and counts (`SCHEMA`) of every column of numbers, names or truth values; others are left out."""
    numbers, names = _numbers(frame), _names(frame)
    values = frame.select(numbers).cast(pl.Float64).to_numpy()
    edges = [_edges(values[:, at]) for at in range(len(numbers))]
    classes = [_classes(frame[name]) for name in names]
    bins = pl.DataFrame(
        {
            "column": [*numbers, *names],
            "edges": [*edges, *([None] * len(names))],
            "classes": [*([None] * len(numbers)), *classes],
        },
        schema={name: SCHEMA[name] for name in ("column", "edges", "classes")},
    )
    return bins.with_columns(pl.Series("counts", count(frame, bins), dtype=SCHEMA["counts"]))


def count(frame: pl.DataFrame, bins: pl.DataFrame) -> list[list[int]]:
    """Rows of a frame in the bins of each row of `bins` (`SCHEMA`), missing values last. A column that the frame does
    not have counts as missing throughout; so does a value that is no number."""
    numeric = bins.filter(pl.col("edges").is_not_null())
    counted = _count_numbers(frame, numeric["column"].to_list(), numeric["edges"].to_list())
    named = bins.filter(pl.col("edges").is_null())
    for name, classes in zip(named["column"], named["classes"], strict=True):
        counted[name] = _count_names(frame, name, list(classes))
    return [counted[name] for name in bins["column"]]


def add_up(counts: Iterable[list[list[int]]]) -> list[list[int]]:
    """The counts of several slices of a table."""
    return reduce(lambda a, b: [[x + y for x, y in zip(*own, strict=True)] for own in zip(a, b, strict=True)], counts)


def _count_numbers(frame: pl.DataFrame, names: list[str], edges: list[list[float]]) -> dict[str, list[int]]:
    """All columns at once, edge by edge: the k-th comparison counts what lies below the k-th edge of each column."""
    absent = [pl.lit(None, pl.Float64).alias(name) for name in names if name not in frame.columns]
    values = frame.with_columns(absent).select(pl.col(names).cast(pl.Float64, strict=False)).to_numpy()  # [R, C]
    most = max((len(own) for own in edges), default=0)
    upper = np.full((most, len(names)), np.inf)
    for at, own in enumerate(edges):
        upper[: len(own), at] = own
    below = np.zeros((most, len(names)), dtype=np.int64)
    for k in range(most):
        below[k] = (values <= upper[k]).sum(axis=0)
    there = (~np.isnan(values)).sum(axis=0)
    counted = {}
    for at, (name, own) in enumerate(zip(names, edges, strict=True)):
        ends = [0, *below[: len(own), at].tolist(), int(there[at])]
        counted[name] = [*np.diff(ends).tolist(), len(values) - int(there[at])]
    return counted


def _count_names(frame: pl.DataFrame, name: str, classes: list[str]) -> list[int]:
    """Rows of each class, of all others together, and without a value."""
    if name not in frame.columns:
        return [*([0] * (len(classes) + 1)), frame.height]
    column = frame[name].cast(pl.String)
    found = dict(column.drop_nulls().value_counts().iter_rows())
    own = [int(found.get(value, 0)) for value in classes]
    return [*own, frame.height - column.null_count() - sum(own), column.null_count()]


def _edges(values: NDArray[np.float64]) -> list[float]:
    """Upper ends of the bins of one column [R]; none where it has no value or only one."""
    some = np.sort(values[~np.isnan(values)])
    if not len(some):
        return []
    ends = np.unique(np.quantile(some, TENTHS, method="inverted_cdf"))
    first = np.searchsorted(some, ends, side="left")
    shared = np.searchsorted(some, ends, side="right") - first > len(some) / 20  # a value of its own bin
    before = some[first[shared & (first > 0)] - 1]
    ends = np.union1d(ends, before)
    return [float(end) for end in ends if end < some[-1]]


def _classes(column: pl.Series) -> list[str]:
    counted = column.cast(pl.String).drop_nulls().rename("class").value_counts()
    return counted.sort("count", "class", descending=[True, False])["class"].head(CLASSES).to_list()


def _numbers(frame: pl.DataFrame) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind.is_numeric()]


def _names(frame: pl.DataFrame) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)]
