"""How many components a mixture or a chain is fitted with: as declared, or fewer where customers are few.

A component takes its share of the customers. Where that is a handful, it describes these customers and no kind of
customer: the next fit finds others, and nobody new resembles them. Rows do not count, since a customer's rows on
several training dates say nearly the same. docs/decisions/0006 has the measurement.

Numbers that a fit does not use are *absent*: their columns have no value, their places in side inputs are 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from feature_assets.events.view import View


def training_customers(views: Sequence[View]) -> int:
    """Different customers on the training dates of a fit."""
    return pl.concat([view.customers["customer_id"] for view in views]).n_unique()


def fitted_components(customers: int, most: int, each: int) -> int:
    """Components that so many customers can carry: one for every `each` of them, at least 2, at most `most`."""
    return min(max(customers // each, 2), most)


def words(fitted: int, most: int, customers: int) -> str:
    """ "6 of 20: 60 training customers carry no more"; "20 of 20" where all are fitted."""
    return f"{fitted} of {most}" + ("" if fitted == most else f": {customers:,} training customers carry no more")
