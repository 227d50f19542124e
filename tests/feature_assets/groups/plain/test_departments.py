"""Departments against loops over each customer's lines."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from feature_assets.events.view import View
from feature_assets.groups.plain import departments
from feature_assets.groups.plain.departments import GROUP
from tests.deliveries import synthetic
from tests.feature_assets import plain_view
from tests.feature_assets.groups.plain import by_hand as hand

NAN = float("nan")


def _since(customer: str, level: str, name: str | None) -> float:
    ages = [line["days_ago"] for line in hand.purchases(customer) if line[level] == name and name is not None]
    return min(168, *ages) if ages else NAN


def _first(customer: str, level: str) -> dict[str, int]:
    """Days ago of the first purchase of each value."""
    first: dict[str, int] = {}
    for line in hand.purchases(customer):
        if line[level] is not None:
            first.setdefault(line[level], line["days_ago"])
    return first


def _stands_out(customer: str, top: list[str], share: dict[str, float]) -> dict[str, int]:
    counts = dict.fromkeys(top, 0)
    for k in range(6):
        spent: dict[str, float] = defaultdict(float)
        for line in hand.purchases(customer):
            if 28 * k < line["days_ago"] <= 28 * (k + 1) and line["category_l1"] in share:
                spent[line["category_l1"]] += line["amount"]
        lifts = [(spent[name] / share[name], -i) for i, name in enumerate(top) if spent[name] > 0]
        if lifts:
            counts[top[-max(lifts)[1]]] += 1
    return counts


@lru_cache(maxsize=1)
def _training_spend() -> dict[str, float]:
    spend: dict[str, float] = defaultdict(float)
    for day in synthetic.TRAIN:
        for line in plain_view.purchases(hand.tables(), day).iter_rows(named=True):
            if line["category_l1"] is not None:
                spend[line["category_l1"]] += line["amount"]
    return dict(sorted(spend.items(), key=lambda item: -item[1]))


def _expected(customer: str) -> dict[str, float]:
    _, state = hand.computed(GROUP)
    spend = _training_spend()
    top, others = list(spend), state.meta["others"]
    out = _stands_out(customer, top, spend)
    pad = [None] * 12
    made: dict[str, float] = {}
    for k, name in enumerate((top + pad)[:12], 1):
        made[f"since_{k:02d}"] = _since(customer, "category_l1", name)
    for k, name in enumerate((top + pad)[:12], 1):
        made[f"stands_out_{k:02d}"] = out[name] if name else NAN
    for k, name in enumerate((others + pad)[:12], 1):
        made[f"since_other_{k:02d}"] = _since(customer, state.meta["level"], name)
    for level, what in ((1, "categories"), (2, "subcategories")):
        for w in (28, 84):
            made[f"new_{what}_{w}d"] = sum(ago <= w for ago in _first(customer, f"category_l{level}").values())
    first = _first(customer, "category_l1")
    return made | {"categories_ever": len(first), "since_new": min(168, *first.values()) if first else NAN}


def test_every_column_is_its_definition() -> None:
    hand.assert_all(GROUP, _expected, varied=False)  # places without a category are missing


def _taken_up(day: date, level: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    bought = plain_view.purchases(hand.tables(), day).filter(pl.col(level).is_not_null())
    first = bought.group_by("customer_id", level).agg(pl.col("days_ago").max())
    for name in first.filter(pl.col("days_ago") <= 84)[level]:
        counts[name] += 1
    return counts


def test_others_are_those_of_level_1_most_often_taken_up_and_without_any_those_of_level_2() -> None:
    """The synthetic delivery has six categories of level 1, all of them among the first 12."""
    _, state = hand.computed(GROUP)
    assert state.meta["categories"] == list(_training_spend())
    counts: dict[str, int] = defaultdict(int)
    for day in synthetic.TRAIN:
        for name, count in _taken_up(day, "category_l2").items():
            counts[name] += count
    assert state.meta["level"] == "category_l2"
    assert state.meta["others"] == sorted(counts, key=lambda name: (-counts[name], name))[:12]


def test_level_1_has_others_where_it_has_more_than_twelve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departments, "TOP", 4)
    views = [View(hand.tables(), day) for day in synthetic.TRAIN]
    state = GROUP.fit(views, [{} for _ in views], 0)
    assert state.meta["level"] == "category_l1"
    assert state.meta["categories"] == list(_training_spend())[:4]
    assert set(state.meta["others"]) == set(list(_training_spend())[4:])
    np.testing.assert_allclose(state.arrays["spend"], list(_training_spend().values())[:4], rtol=1e-9)


def test_days_since_a_purchase_have_an_end() -> None:
    """The synthetic history is short: a later date, so that some purchases lie further back."""
    later = synthetic.AS_OF + timedelta(days=300)
    _, state = hand.computed(GROUP)
    frame = GROUP.compute(View(hand.tables(), later), state, {})
    assert frame["departments__since_01"].max() == departments.LONGEST
    assert frame["departments__since_new"].max() == departments.LONGEST
