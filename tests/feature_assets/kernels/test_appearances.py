"""Numbers of equal values within a customer against a dictionary a customer, and what they are for."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.lines import NEVER
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.kernels.appearances import appearances
from feature_assets.kernels.extremes import largest_three
from tests.feature_assets import plain_view

MakeTables = Callable[..., Tables]
CUSTOMERS = st.lists(st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1), st.integers(0, 4)), max_size=40))


@settings(max_examples=80, deadline=None)
@given(customers=CUSTOMERS)
def test_numbers_and_predecessors_are_those_of_a_dictionary(customers: list[list[int | None]]) -> None:
    start = np.cumsum([0, *(len(values) for values in customers)])
    flat = [value for values in customers for value in values]
    known = np.array([value is not None for value in flat], dtype=np.bool_)
    number, previous, pairs = appearances(start, np.array([value or 0 for value in flat], dtype=np.uint64), known)
    found, at = 0, 0
    for i, values in enumerate(customers):
        assert pairs[i] == found
        numbers: dict[int, int] = {}
        last: dict[int, int] = {}
        for value in values:
            if value is None:
                assert (number[at], previous[at]) == (pairs[-1], -1)
            else:
                if value not in numbers:
                    numbers[value], found = found, found + 1
                assert (number[at], previous[at]) == (numbers[value], last.get(value, -1))
                last[value] = at
            at += 1
    assert pairs[-1] == found


def test_values_that_hash_to_one_place_are_still_told_apart() -> None:
    inverse = pow(0x9E3779B97F4A7C15, -1, 2**64)  # value · constant = 0, 1, 2, …: all in the first place
    values = np.array([k * inverse % 2**64 for k in (0, 1, 2, 1, 0, 3, 2)], dtype=np.uint64)
    number, previous, _ = appearances(np.array([0, 7]), values, np.ones(7, dtype=np.bool_))
    assert number.tolist() == [0, 1, 2, 1, 0, 3, 2]
    assert previous.tolist() == [-1, -1, -1, 1, 0, -1, 2]


def test_the_three_largest_are_those_of_a_sort() -> None:
    rng = np.random.default_rng(5)
    customers = [np.round(rng.normal(0, 3, n)) for n in (0, 1, 2, 3, 4, 9, 0, 40)]  # with ties and negative ones
    sums = largest_three(np.cumsum([0, *map(len, customers)]), np.concatenate(customers))
    expected = [np.sort(values)[::-1][:3].sum() if len(values) else np.nan for values in customers]
    np.testing.assert_array_equal(sums, expected)


@pytest.fixture(scope="module")
def small(make_tables: MakeTables) -> Tables:
    return make_tables(3, lines=3_000)


@pytest.mark.parametrize("name", ["category_l1", "category_l2", "category_l3", "brand", "merchant_id", "product_id"])
def test_encoded_lines_are_those_of_the_joined_table(small: Tables, name: str) -> None:
    lines = plain_view.every_line(small).filter(pl.col("kind") == "purchase")
    rows = small.purchases
    codes = rows.codes(name)
    numbers, known = codes.numbers, codes.names
    assert known == sorted(set(lines[name].drop_nulls().to_list()))
    assert [known[i] if i >= 0 else None for i in numbers.tolist()] == lines[name].to_list()
    last: dict[tuple[int, str], int] = {}
    previous = rows.previous(name).tolist()
    for i, (customer, value, day) in enumerate(
        zip(lines["customer_id"], lines[name], lines["day"].to_physical(), strict=True)
    ):
        if value is None:
            assert previous[i] == NEVER
            continue
        assert previous[i] == last.get((customer, value), NEVER)
        last[customer, value] = day


def test_a_finished_view_goes_without_a_search_for_circles(small: Tables) -> None:
    tables = Tables(small.dataset, small.frames, presorted=True)
    view = View(tables, date(2017, 6, 7))
    part = view.purchases
    assert len(view.purchase_days) > 0
    assert len(view.observed_days) > 0
    part.group("basket_id").sums()
    part.previous_days_ago("merchant_id")
    gone = [weakref.ref(view), weakref.ref(part), weakref.ref(tables.purchases)]
    gc.collect()
    gc.disable()
    try:
        del view, part, tables
        assert [reference() for reference in gone] == [None, None, None]
    finally:
        gc.enable()
