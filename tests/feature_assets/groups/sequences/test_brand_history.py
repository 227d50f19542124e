"""Own brands against their plain definition in Python, their order and places, and a data set without brands."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups.sequences import brand_history
from feature_assets.groups.sequences.brand_history import CHANNELS, GROUP, HALF_LIVES, LONGEST, ORDER, PLACES
from tests.deliveries import synthetic


def _fit(tables: Tables) -> GroupState:
    return GROUP.fit([View(tables, day) for day in synthetic.TRAIN], [{}] * 3, 0)


def _computed(tables: Tables, state: GroupState) -> tuple[list[str], np.ndarray, np.ndarray]:
    frame = GROUP.compute(View(tables, synthetic.AS_OF), state, {})
    values = frame["brand_history"].explode().to_numpy().reshape(frame.height, PLACES, len(CHANNELS))
    return frame["customer_id"].to_list(), values, frame["brand_history_mask"].explode().to_numpy().reshape(-1, PLACES)


@lru_cache(maxsize=1)
def whole() -> tuple[Tables, GroupState]:
    tables = synthetic.tables()
    return tables, _fit(tables)


def _by_hand(tables: Tables) -> dict[str, dict[str, dict[str, float]]]:
    """Customer → brand → channel → unscaled value, from the rows of the contract tables one by one."""
    brand_of = {row["product_id"]: row["brand"] for row in tables.frames["products"].to_dicts()}
    shop_of = {row["merchant_id"]: row["brand"] for row in tables.frames["merchants"].to_dicts()}
    days: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    any_day: dict[str, set[int]] = defaultdict(set)
    for row in tables.frames["transactions"].to_dicts():
        age = (synthetic.AS_OF - row["at"].astimezone(ZoneInfo(synthetic.ZONE)).date()).days
        if row["kind"] != "purchase" or not 1 <= age <= LONGEST:
            continue
        any_day[row["customer_id"]].add(age)
        brand = brand_of.get(row["product_id"]) or shop_of.get(row["merchant_id"])
        if brand is not None:
            days[row["customer_id"]][brand].add(age)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for customer, brands in days.items():
        found[customer] = {}
        for brand, ages in brands.items():
            values = {"last": math.log1p(min(ages)), "first": math.log1p(max(ages))}
            for half in HALF_LIVES:
                own, all_days = (sum(0.5 ** (age / half) for age in some) for some in (ages, any_day[customer]))
                values |= {f"days_{half}": math.log1p(own), f"share_{half}": own / all_days}
            values |= {"days": math.log1p(len(ages)), "share": len(ages) / len(any_day[customer])}
            found[customer][brand] = values
    return found


def test_places_are_their_definition() -> None:
    tables, state = whole()
    names, values, mask = _computed(tables, state)
    expected, brands = _by_hand(tables), state.meta["brands"]
    assert sum(len(own) for own in expected.values()) > 500
    assert not values[~mask].any()
    natural = values * state.arrays["scale"] + state.arrays["mean"]
    for name, places, valid in zip(names, natural, mask, strict=True):
        own = expected.get(name, {})
        assert valid.sum() == min(len(own), PLACES)
        assert valid[: valid.sum()].all()
        for place in places[valid]:
            wanted = own[brands[round(place[0])]]
            np.testing.assert_allclose(place[1:], [wanted[channel] for channel in CHANNELS[1:]], atol=2e-6)


def test_own_brands_of_the_training_dates_have_mean_0_and_deviation_1() -> None:
    tables, state = whole()
    values = []
    for day in synthetic.TRAIN:
        frame = GROUP.compute(View(tables, day), state, {})
        mask = frame["brand_history_mask"].explode().to_numpy()
        values.append(frame["brand_history"].explode().to_numpy().reshape(-1, len(CHANNELS))[mask])
    joined = np.concatenate(values).astype(np.float64)[:, 1:]
    np.testing.assert_allclose(joined.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(joined.std(axis=0), 1.0, atol=1e-5)
    assert (state.arrays["mean"][0], state.arrays["scale"][0]) == (0.0, 1.0)


def test_most_often_and_lately_bought_first_and_ties_in_the_order_of_the_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables, state = whole()
    _, values, mask = _computed(tables, state)
    order = CHANNELS.index(f"days_{ORDER}")
    for places in (row[valid] for row, valid in zip(values, mask, strict=True)):
        keys = [(-weight, number) for weight, number in zip(places[:, order], places[:, 0], strict=True)]
        assert keys == sorted(keys)
    monkeypatch.setattr(brand_history, "PLACES", 2)
    frame = GROUP.compute(View(tables, synthetic.AS_OF), state, {})
    fewer = frame["brand_history"].explode().to_numpy().reshape(frame.height, 2, len(CHANNELS))
    np.testing.assert_array_equal(fewer, values[:, :2])
    assert mask[:, 2:].any()


def test_the_vocabulary_is_ordered_by_customers_who_bought_and_by_name() -> None:
    tables, state = whole()
    buyers: dict[str, int] = defaultdict(int)
    for day in synthetic.TRAIN:
        lines = View(tables, day).recent_purchases(LONGEST).frame("brand").drop_nulls("brand")
        for brand, count in lines.group_by("brand").agg(pl.col("row").n_unique()).iter_rows():
            buyers[brand] += count
    assert state.meta["brands"] == sorted(buyers, key=lambda brand: (-buyers[brand], brand))


def test_a_brand_that_is_new_since_the_fit_has_no_place_but_its_days_count() -> None:
    tables, state = whole()
    dropped = state.meta["brands"][0]
    fewer = GroupState(state.arrays, {**state.meta, "brands": state.meta["brands"][1:]})
    _, before, held = _computed(tables, state)
    _, after, mask = _computed(tables, fewer)
    for old, occupied, new, valid in zip(before, held, after, mask, strict=True):
        kept = old[occupied & (old[:, 0] != 0)]
        np.testing.assert_array_equal(kept[:, 1:], new[valid][:, 1:])
    assert dropped not in fewer.meta["brands"]


def test_numbers_are_exact_in_float16() -> None:
    numbers = np.arange(brand_history.BRANDS, dtype=np.float32)
    assert (numbers.astype(np.float16).astype(np.float32) == numbers).all()


def test_without_brands_every_channel_is_absent() -> None:
    tables = synthetic.tables()
    bare = {
        name: frame.with_columns(brand=pl.lit(None, pl.String)) if "brand" in frame.columns else frame
        for name, frame in tables.frames.items()
    }
    tables = Tables(tables.dataset, bare)
    state = _fit(tables)
    assert state.meta["brands"] == state.meta["channels_present"] == []
    _, values, mask = _computed(tables, state)
    assert not mask.any()
    assert not values.any()
