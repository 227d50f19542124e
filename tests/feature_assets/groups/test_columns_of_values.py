"""Columns that groups name as those of a value (a category, a channel, a kind of products) measure that value."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from feature_assets import registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState
from tests.deliveries import synthetic

OF = {
    "base": ("transactions", "category_l1"),
    "departments": ("transactions", "category_l1"),
    "channel_counts": ("transactions", "channel"),
    "held": ("holdings", "kind"),
}
"""Group → the table and the field of its values."""


@lru_cache(maxsize=1)
def _tables() -> Tables:
    return synthetic.tables()


@lru_cache(maxsize=8)
def _fitted(name: str) -> tuple[FeatureGroup, GroupState]:
    group = registry.registry()[name]
    views = [View(_tables(), day) for day in synthetic.TRAIN]
    return group, group.fit(views, [{} for _ in views], 0)


def test_the_groups_that_have_such_columns_are_known() -> None:
    declared = {name for name, group in registry.registry().items() if "columns_of_values" in vars(type(group))}
    assert declared == {*OF, "stages"}  # of whose values several share a column: test_stages.py


@pytest.mark.parametrize("name", OF)
def test_they_are_columns_of_the_group_each_of_one_value(name: str) -> None:
    group, state = _fitted(name)
    columns = [c for of_value in group.columns_of_values(state).values() for c in of_value.values()]
    assert columns
    assert set(columns) <= {column.name for column in group.columns}
    assert len(set(columns)) == len(columns)


@pytest.mark.parametrize("name", ["base", "departments", "channel_counts"])
def test_they_change_for_those_who_lose_the_value_alone(name: str) -> None:
    """Without one value's purchases of the last 20 days its own columns change, and no other value's counts do."""
    group, state = _fitted(name)
    by_value = group.columns_of_values(state)
    _, field = OF[name]
    value = next(iter(by_value))
    tables = _tables()
    of_products = field.startswith("category")
    lines = tables.frames["transactions"]
    known = tables.frames["products"] if of_products else None
    joined = lines if known is None else lines.join(known.select("product_id", field), on="product_id", how="left")
    last = synthetic.AS_OF - timedelta(days=2)  # whatever the zone: before t
    recent = pl.col("at").dt.date().is_between(last - timedelta(days=20), last)
    kept = joined.filter(~((pl.col(field) == value) & recent).fill_null(False)).select(lines.columns)
    assert kept.height < lines.height
    without = replace(tables, frames={**tables.frames, "transactions": kept})
    before, after = (
        group.compute(View(given, synthetic.AS_OF), state, {}).sort("customer_id") for given in (tables, without)
    )
    changed = {
        column
        for column in before.columns[1:]
        if not np.array_equal(before[column].to_numpy(), after[column].to_numpy(), equal_nan=True)
    }
    counts = [c for measure, c in by_value[value].items() if "count" in measure or "lines" in measure]
    assert set(by_value[value].values()) & changed
    assert set(counts) <= changed
    others = [
        column
        for name_of, of_value in by_value.items()
        if name_of != value
        for measure, column in of_value.items()
        if "share" not in measure and measure != "stands_out" and "_other_" not in column  # of level 2, inside others
    ]
    assert not set(others) & changed
