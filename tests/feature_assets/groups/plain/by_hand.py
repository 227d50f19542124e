"""The synthetic delivery of each customer as lists of dictionaries, and the comparison of a group with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import FeatureGroup, GroupState
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

Line = dict[str, Any]
HISTORY = (synthetic.AS_OF - synthetic.FIRST).days


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The delivery."""
    return synthetic.tables()


@lru_cache(maxsize=1)
def lines() -> dict[str, list[Line]]:
    """Transactions before t of each customer, in the order of time."""
    return _by_customer(plain_view.lines(tables(), synthetic.AS_OF).sort("at", "transaction_id"))


@lru_cache(maxsize=200)
def purchases(customer: str) -> list[Line]:
    """Purchase lines of a customer."""
    return [line for line in lines().get(customer, []) if line["kind"] == "purchase"]


@lru_cache(maxsize=8)
def events(table: str) -> dict[str, list[Line]]:
    """Rows of a table of events before t by customer, with `days_ago`."""
    frame = plain_view.known_frames(tables(), synthetic.AS_OF)[table]
    day = pl.col("at").dt.convert_time_zone(synthetic.ZONE).dt.date()
    return _by_customer(frame.sort("at").with_columns(days_ago=(pl.lit(synthetic.AS_OF) - day).dt.total_days()))


def _by_customer(frame: pl.DataFrame) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["customer_id"]].append(row)
    return found


@lru_cache(maxsize=200)
def baskets(customer: str) -> list[Line]:
    """First line of each basket and day, in the order of time."""
    first: dict[Any, Line] = {}
    for line in purchases(customer):
        first.setdefault((line["basket_id"], line["day"]), line)
    return list(first.values())


@lru_cache(maxsize=200)
def days(customer: str) -> dict[int, float]:
    """Days ago of each purchase day, oldest first, and what was spent on it."""
    spent: dict[int, float] = defaultdict(float)
    for line in purchases(customer):
        spent[line["days_ago"]] += line["amount"]
    return dict(sorted(spent.items(), reverse=True))


def within(rows: list[Line], window: int) -> list[Line]:
    """Rows of the last `window` days."""
    return [row for row in rows if row["days_ago"] <= window]


@lru_cache(maxsize=8)
def computed(group: FeatureGroup) -> tuple[pl.DataFrame, GroupState]:
    """The group at t, fitted on the training dates."""
    views = [View(tables(), day) for day in synthetic.TRAIN]
    state = group.fit(views, [{} for _ in views], 0)
    return group.compute(View(tables(), synthetic.AS_OF), state, {}), state


def assert_all(group: FeatureGroup, expected: Callable[[str], dict[str, float]], varied: bool = True) -> None:
    """All columns equal their definitions: `expected` gives those of a customer, by name without the group's. If
    `varied`, none of them may be constant, so that each is told from the others."""
    frame, _ = computed(group)
    rows = [expected(customer) for customer in frame["customer_id"]]
    names = [column.name for column in group.columns]
    assert [f"{group.name}__{name}" for name in rows[0]] == names
    by_hand = np.array([list(row.values()) for row in rows], dtype=float)
    values = frame.select(names).to_numpy()
    for i, name in enumerate(names):
        np.testing.assert_allclose(values[:, i], by_hand[:, i], rtol=2e-6, atol=1e-6, err_msg=name)
    if varied:
        assert [name for i, name in enumerate(names) if len(np.unique(by_hand[:, i])) < 2] == []
