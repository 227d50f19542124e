"""Rare classes merge with a neighbour or with each other: how far, under which names, and the same on later nights."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from feature_assets.data.tables import Tables
from feature_assets.labels import LabelState, base_rates, compute_labels, describe, fit_labels, windows, with_enough
from feature_assets.labels.constants import TIMES, cycles
from feature_assets.labels.merging import BY_DAYS, BY_NAME, BY_TIME, having, relabelled
from feature_assets.snapshots import SnapshotPlan, plan

UNTIL = date(2018, 1, 1)
Has = NDArray[np.bool_]


def disjoint(*customers: int) -> Has:
    """Each customer in one class, so many in each."""
    return np.repeat(np.eye(len(customers), dtype=np.bool_), customers, axis=0)


def drawn(classes: int) -> st.SearchStrategy[Has]:
    shares = st.lists(st.sampled_from([0.0, 0.05, 0.2, 0.6]), min_size=classes, max_size=classes)
    return st.tuples(shares, st.integers(0, 60), st.integers(0, 99)).map(
        lambda d: np.random.default_rng(d[2]).random((d[1], classes)) < np.array(d[0])
    )


def groups(merged: dict[str, str]) -> list[list[str]]:
    return [[part for part, name in merged.items() if name == each] for each in dict.fromkeys(merged.values())]


def enough(has: Has, names: list[str], group: list[str]) -> bool:
    return int(has[:, [names.index(part) for part in group]].any(axis=1).sum()) >= 10


@settings(max_examples=60, deadline=None)
@given(drawn(7))
def test_neighbours_merge_until_each_has_its_customers_and_no_further(has: Has) -> None:
    names = cycles(28)
    merged = BY_DAYS.merged(has, names)
    assert list(merged) == names
    found = groups(merged)
    assert [part for group in found for part in group] == names, "only neighbours merge"
    assert len(found) == 1 or all(enough(has, names, group) for group in found)
    for group in found:
        if len(group) > 1:
            assert not all(enough(has, names, [part]) for part in group), "nothing merges without need"
    if all(enough(has, names, [part]) for part in names):
        assert merged == dict(zip(names, names, strict=True))


@settings(max_examples=60, deadline=None)
@given(drawn(6), st.booleans())
def test_classes_without_an_order_merge_the_rarest_first(has: Has, none: bool) -> None:
    names = ["a", "b", "c", "d", "e", "none"]
    kept = "none" if none else None
    merged = BY_NAME.merged(has, names, kept)
    found = groups(merged)
    free = [name for name in names if name != kept]
    rare = {name for name in free if not enough(has, names, [name])}
    [*together] = [group for group in found if len(group) > 1]
    assert len(together) <= 1
    if none:
        assert merged["none"] == "none"
    for group in found:
        assert enough(has, names, group) or group == ["none"] or len(group) == len(free) or group == [*rare] == free
    for group in together:
        assert rare <= set(group)
        count = has.sum(axis=0)
        left = [name for name in free if name not in group]
        assert all(count[names.index(a)] >= count[names.index(b)] for a in left for b in group)
        more = [name for name in group if name not in rare]
        if more:
            last = max(more, key=lambda name: (count[names.index(name)], names.index(name)))
            assert not enough(has, names, [name for name in group if name != last]), "no more than it takes"


def test_names_of_merged_classes() -> None:
    names = cycles(28)
    assert list(dict.fromkeys(BY_DAYS.merged(disjoint(3, 12, 6, 5, 30, 2, 1), names).values())) == [
        "0–1 days",
        "2–6 days",
        "7+ days",
    ]
    whole = BY_TIME.merged(disjoint(*([12, 0, 0, 0] * 7)), TIMES)
    assert list(dict.fromkeys(whole.values())) == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    night = BY_TIME.merged(disjoint(*([2, 20, 20, 20] * 7)), TIMES)
    assert night["Mon 00–06"] == night["Mon 06–12"] == "Mon 00–12"
    assert night["Mon 12–18"] == "Mon 12–18"
    few = BY_TIME.merged(disjoint(*([3, 0, 0, 0] * 2), *([30, 0, 0, 0] * 5)), TIMES)
    assert few["Tue 18–24"] == "Mon or Tue or Wed"
    assert set(BY_NAME.merged(disjoint(30, 4, 30, 7), ["a", "b", "c", "d"]).values()) == {"a", "c", "b or d"}
    many = BY_NAME.merged(disjoint(30, 4, 4, 4, 4), ["other", "b", "c", "d", "e"])
    assert set(many.values()) == {"other", "all other"}


def test_labels_follow_their_classes() -> None:
    merged = {"a": "a or c", "b": "b", "c": "a or c", "d": "d"}
    label = pl.Series([3, 2, None, 1, 0], dtype=pl.Int16)
    assert relabelled(label, merged).to_list() == [2, 0, None, 1, 0]
    assert relabelled(label, merged).dtype == pl.Int16
    has = having(pl.Series([0, 2, 2, 1]), pl.Series([7, 3, 7, 3]), 3)
    assert has.tolist() == [[False, True, True], [True, False, True]]


@pytest.fixture(scope="module")
def thin(make_tables: Callable[..., Tables]) -> Tables:
    """Few customers, every purchase at local midnight."""
    whole = make_tables(5, customers=26, lines=1_500)
    zone = whole.dataset.zone
    day = pl.col("at").dt.convert_time_zone(zone).dt.truncate("1d").dt.convert_time_zone("UTC")
    return Tables(whole.dataset, {**whole.frames, "transactions": whole.frames["transactions"].with_columns(at=day)})


def planned(tables: Tables) -> SnapshotPlan:
    return plan(UNTIL, tables.dataset.covers_from, windows(tables.dataset))


@pytest.fixture(scope="module")
def fitted(thin: Tables) -> tuple[LabelState, LabelState]:
    """The state before and after."""
    raw = fit_labels(thin, planned(thin))
    return raw, with_enough(thin, planned(thin), raw)


def test_days_without_hours_are_weekdays(thin: Tables, fitted: tuple[LabelState, LabelState]) -> None:
    state = fitted[1]
    assert state.classes["timing"] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    assert "timing" not in state.off
    t = date(2017, 6, 5)
    before, after = (compute_labels(thin, t, s, UNTIL) for s in fitted)
    assert (before["timing"] // 4).equals(after["timing"])
    assert any("28 classes are merged into 7" in line for line in state.merged_in_words())


def test_every_class_that_is_left_has_its_customers_in_the_training_rows(
    thin: Tables, fitted: tuple[LabelState, LabelState]
) -> None:
    """And labels differ from those before in nothing but the names of their classes."""
    raw, state = fitted
    made = planned(thin)
    frames = [(compute_labels(thin, day, raw, UNTIL), compute_labels(thin, day, state, UNTIL)) for day in made.train]
    assert {"timing", "nba"} <= set(state.merged), sorted(state.merged)
    for task, parts in state.merged.items():
        assert list(parts) == raw.classes[task]
        assert list(dict.fromkeys(parts.values())) == state.classes[task]
        customers: dict[str, set[str]] = {}
        for before, after in frames:
            if not made.usable(task, before["as_of"][0]):
                continue
            for who, old, new in zip(before["customer_id"], before[task], after[task], strict=True):
                assert (old is None) is (new is None)
                if old is not None:
                    assert parts[raw.classes[task][old]] == state.classes[task][new]
                    customers.setdefault(state.classes[task][new], set()).add(who)
        assert all(len(customers.get(name, ())) >= 10 for name in state.classes[task] if name != "none")
    for task in set(raw.classes) - set(state.merged):
        assert all(before[task].equals(after[task], null_equal=True) for before, after in frames)
    assert state.classes["nba"][-1] == "none"


def test_the_merged_classes_are_kept_and_told(thin: Tables, fitted: tuple[LabelState, LabelState]) -> None:
    _, state = fitted
    again = LabelState.from_dict(state.to_dict())
    assert again == state
    assert [list(parts) for parts in again.merged.values()] == [list(parts) for parts in state.merged.values()]
    labels = compute_labels(thin, UNTIL - timedelta(days=90), state, UNTIL)
    rates = {rate["task"]: rate for rate in base_rates(labels, state).to_dicts()}
    assert {each["class"] for each in rates["timing"]["classes"]} <= set(state.classes["timing"])
    told = {entry["name"]: entry["meaning"] for entry in describe(thin.dataset, state.merged)}
    assert told["timing"].endswith("are merged.")
    assert not told["churn"].endswith("are merged.")
