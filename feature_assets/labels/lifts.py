"""The class on which a customer differs most from the population: a label of several tasks."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def index_of(name: pl.Expr, classes: Sequence[str]) -> pl.Expr:
    """Index of a class by its name, null for any other."""
    return name.replace_strict(list(classes), list(range(len(classes))), default=None, return_dtype=pl.Int16)


def highest_lift(weights: pl.DataFrame, column: str, classes: list[str], shares: list[float]) -> pl.DataFrame:
    """`customer` and `class`, the index of the largest weight over the population's share (ties: the first class).

    A customer's total divides all of its classes alike, so it does not change which is the largest.

    Args:
        weights: `customer`, `column` (the name of a class) and `weight`, one row a customer and class.
        column: the column of class names.
        classes: names in the order of their indices.
        shares: share of each class in the population.
    """
    lift = pl.col("weight") / pl.col(column).replace_strict(classes, shares, return_dtype=pl.Float64)
    return (
        weights.filter(pl.col("weight") > 0)
        .select("customer", lift.alias("lift"), index_of(pl.col(column), classes).alias("class"))
        .sort("customer", "lift", "class", descending=[False, True, False])
        .group_by("customer", maintain_order=True)
        .agg(pl.col("class").first())
    )
