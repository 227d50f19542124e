"""Each raw column against its plain definition, customer by customer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.base.raw_power_law import CATEGORIES, DAYS, GROUP
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

Line = dict[str, Any]


@lru_cache(maxsize=1)
def _computed() -> tuple[pl.DataFrame, GroupState, dict[str, list[Line]]]:
    tables = synthetic.tables()
    state = GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)
    view = View(tables, synthetic.AS_OF)
    lines: dict[str, list[Line]] = defaultdict(list)
    for line in plain_view.purchases(tables, synthetic.AS_OF).iter_rows(named=True):
        lines[line["customer_id"]].append(line)
    return GROUP.compute(view, state, {}), state, lines


def _sum(lines: Iterable[Line], what: str = "amount") -> float:
    return float(sum(line[what] or 0 for line in lines))


def _grouped(lines: list[Line], key: Callable[[Line], Any]) -> dict[Any, list[Line]]:
    groups: dict[Any, list[Line]] = defaultdict(list)
    for line in lines:
        if key(line) is not None:
            groups[key(line)].append(line)
    return groups


def _distinct(name: str) -> Callable[[list[Line], list[Line]], float]:
    return lambda lines, _: len({line[name] for line in lines} - {None})


def _largest(name: str) -> Callable[[list[Line], list[Line]], float]:
    def largest(lines: list[Line], every: list[Line]) -> float:
        del every
        return max((_sum(group) for group in _grouped(lines, lambda line: line[name]).values()), default=0.0)

    return largest


def _baskets(lines: list[Line]) -> list[list[Line]]:
    return list(_grouped(lines, lambda line: line["basket_id"]).values())


def _gap(lines: list[Line], every: list[Line]) -> float:
    del every
    days = sorted({line["day"] for line in lines})
    return max(((b - a).days for a, b in pairwise(days)), default=np.nan)


def _new(lines: list[Line], every: list[Line]) -> float:
    before = {line["product_id"] for line in every if line["days_ago"] > 56}
    return len({line["product_id"] for line in lines} - before - {None})


DEFINITIONS: dict[str, Callable[[list[Line], list[Line]], float]] = {
    "amount": lambda lines, _: _sum(lines),
    "lines": lambda lines, _: len(lines),
    "units": lambda lines, _: _sum(lines, "quantity"),
    "discount": lambda lines, _: _sum(lines, "discount"),
    "basket_max": lambda lines, _: max(map(_sum, _baskets(lines))),
    "line_max": lambda lines, _: max(line["amount"] for line in lines),
    "products": _distinct("product_id"),
    "basket_square": lambda lines, _: sum(_sum(basket) ** 2 for basket in _baskets(lines)),
    "categories_l2": _distinct("category_l2"),
    "categories_l3": _distinct("category_l3"),
    "brands": _distinct("brand"),
    "merchants": _distinct("merchant_id"),
    "merchant_max": _largest("merchant_id"),
    "merchant_rest": lambda lines, every: _sum(lines) - _largest("merchant_id")(lines, every),
    "product_max": _largest("product_id"),
    "brand_max": _largest("brand"),
    "category_l2_max": _largest("category_l2"),
    "line_units_max": lambda lines, _: max((x["quantity"] for x in lines if x["quantity"] is not None), default=np.nan),
    "basket_lines_max": lambda lines, _: max(map(len, _baskets(lines))),
    "day_max": _largest("day"),
    "week_max": lambda lines, _: max(map(_sum, _grouped(lines, lambda line: line["day"].isocalendar()[:2]).values())),
    "basket_discount_max": lambda lines, _: max(_sum(basket, "discount") for basket in _baskets(lines)),
    "gap_max": _gap,
    "new_products": _new,
    "discounted_lines": lambda lines, _: sum(line["discount"] > 0 for line in lines),
    "top_3_baskets": lambda lines, _: sum(sorted(map(_sum, _baskets(lines)))[-3:]),
}
COUNTS_WHEN_EMPTY = {"amount", "lines", "units", "discount", "products", "basket_square", "categories_l2"}
COUNTS_WHEN_EMPTY |= {"categories_l3", "brands", "merchants", "new_products", "discounted_lines"}


def _definition(measure: str, state: GroupState) -> Callable[[list[Line], list[Line]], float]:
    for kind, column, vocabulary in (("category", "category_l1", "categories"), ("channel", "channel", "channels")):
        if measure.startswith(f"{kind}_") and measure.endswith("_amount"):
            rank, known = int(measure.split("_")[1]) - 1, state.meta[vocabulary]
            if rank >= len(known):
                return lambda *_: np.nan
            return lambda lines, _: _sum(line for line in lines if line[column] == known[rank])
    return DEFINITIONS[measure]


@pytest.mark.parametrize("column", [column.name for column in GROUP.columns])
def test_column_is_its_definition(column: str) -> None:
    frame, state, lines = _computed()
    measure, days = column.removeprefix("raw_power_law__").rsplit("_", 1)
    definition = _definition(measure, state)
    expected = []
    for customer in frame["customer_id"]:
        chosen = [line for line in lines[customer] if line["days_ago"] <= int(days[:-1])]
        if chosen:
            expected.append(definition(chosen, lines[customer]))
        elif measure in COUNTS_WHEN_EMPTY or measure.endswith("_amount"):
            expected.append(np.nan if np.isnan(definition([], [])) else 0.0)
        else:
            expected.append(np.nan)
    np.testing.assert_allclose(frame[column].to_numpy(), np.array(expected, dtype=float), rtol=1e-5, atol=1e-5)


def test_ranks_are_by_training_spend() -> None:
    _, state, _ = _computed()
    tables = synthetic.tables()
    spend: dict[str, float] = defaultdict(float)
    for day in synthetic.TRAIN:
        lines = plain_view.lines(tables, day)
        for row in lines.group_by("category_l1").agg(pl.col("amount").sum()).drop_nulls().iter_rows():
            spend[row[0]] += row[1]
    assert state.meta["categories"] == sorted(spend, key=lambda name: -spend[name])[:CATEGORIES]
    assert state.meta["channels"] == ["shelf", "mailer", "display"]


def test_90_columns_in_natural_units() -> None:
    assert len(GROUP.columns) == 90
    assert DAYS == (14, 28, 56, 112, 224)
    frame, _, lines = _computed()
    assert frame["raw_power_law__amount_224d"].max() == pytest.approx(max(map(_sum, lines.values())), rel=1e-5)
