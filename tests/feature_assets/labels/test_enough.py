"""Tasks with too few training labels are off with the reason: counted again in plain Python, on training dates only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.data.tables import Tables
from feature_assets.labels import (
    LabelState,
    NotEnoughLabels,
    compute_labels,
    enough,
    fit_labels,
    get_task,
    windows,
    with_enough,
)
from feature_assets.labels.kinds import BINARY, CONTRASTIVE, MULTICLASS, REGRESSION, LabelKind
from feature_assets.snapshots import SnapshotPlan, plan
from tests.feature_assets.labels.test_labels import with_changed_events

UNTIL = date(2018, 1, 1)
CLASSES = ["a", "b", "c", "d"]
Rows = list[tuple[int, Any]]


def slow_scarce(kind: LabelKind, rows: Rows) -> bool:
    """Whether labels (customer, label) are too few, by sets."""
    customers = {who for who, _ in rows}
    if len(customers) < 20:
        return True
    if kind in (MULTICLASS, CONTRASTIVE):
        named = [(who, one) for who, label in rows for one in (label if isinstance(label, list) else [label])]
        return sum(len({who for who, one in named if one == c}) >= 10 for c in range(len(CLASSES))) < 2
    if kind is BINARY:
        return any(len({who for who, label in rows if label == outcome}) < 20 for outcome in (0, 1))
    labels = {label for _, label in rows}
    return any(len({who for who, label in rows if label != one}) < 10 for one in labels)


def scarce(kind: LabelKind, rows: Rows) -> str:
    label = pl.Series("label", [label for _, label in rows], dtype=kind.dtype)
    return kind.scarce(label, pl.Series("customer", [who for who, _ in rows]), CLASSES)


def labelled(kind: LabelKind) -> st.SearchStrategy[Rows]:
    label: st.SearchStrategy[Any] = {
        BINARY: st.sampled_from([0, 0, 1]),
        MULTICLASS: st.sampled_from([0, 0, 0, 1, 2, 3]),
        REGRESSION: st.sampled_from([0.0, 0.0, 0.0, 1.5]),
        CONTRASTIVE: st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=1, max_size=3, unique=True),
    }[kind]
    return st.integers(1, 60).flatmap(
        lambda people: st.lists(st.tuples(st.integers(1, people), label), min_size=1, max_size=120)
    )


@pytest.mark.parametrize("kind", [BINARY, MULTICLASS, REGRESSION, CONTRASTIVE], ids=lambda kind: kind.name)
def test_too_few_are_counted_in_customers_and_more_rows_are_never_too_few(kind: LabelKind) -> None:
    @settings(max_examples=60, deadline=None)
    @given(labelled(kind), labelled(kind))
    def holds(rows: Rows, more: Rows) -> None:
        assert bool(scarce(kind, rows)) is slow_scarce(kind, rows)
        assert scarce(kind, rows) or not scarce(kind, rows + more)
        assert scarce(kind, rows) == scarce(kind, rows * 3)

    holds()


def test_the_reason_says_how_many_there_are_and_how_many_are_needed() -> None:
    people: Rows = [(who, 0) for who in range(58)]
    assert scarce(BINARY, people[:5]) == "5 customers have a training label, 20 are needed"
    three = "3 of 58 customers have a positive training label, 20 are needed"
    assert scarce(BINARY, [*people, (1, 1), (2, 1), (3, 1)]) == three
    assert scarce(BINARY, [(who, 1) for who, _ in people]).startswith("0 of 58 customers have a negative")
    some = "9 of 58 customers have a training label other than 2.5, 10 are needed"
    assert scarce(REGRESSION, [(who, 2.5 if who > 8 else 7.0 + who) for who, _ in people]) == some
    only = "'a' is the only class with a training label of 10 customers, two are needed"
    assert scarce(MULTICLASS, [*people, *((who, 1) for who in range(9))]) == only
    assert scarce(MULTICLASS, [(who, who % 4 if who < 36 else 0) for who, _ in people]) == only
    assert not scarce(MULTICLASS, [*people, *((who, 1) for who in range(10))])


@pytest.fixture(scope="module")
def small(make_tables: Callable[..., Tables]) -> Tables:
    return make_tables(5, customers=30, lines=3_000)


def planned(tables: Tables) -> SnapshotPlan:
    return plan(UNTIL, tables.dataset.covers_from, windows(tables.dataset))


@pytest.fixture(scope="module")
def state(small: Tables) -> LabelState:
    return fit_labels(small, planned(small))


def test_a_task_is_off_where_all_its_training_labels_are_too_few(small: Tables, state: LabelState) -> None:
    """The early end of the search, newest date first, changes nothing."""
    made = planned(small)
    frames = [compute_labels(small, day, state, made.as_of) for day in made.train]
    expected = {}
    for task in made.windows:
        usable = [f.select("customer_id", task) for f in frames if made.usable(task, f["as_of"][0])]
        rows = pl.concat(usable).drop_nulls()
        why = get_task(task).kind.scarce(rows[task], rows["customer_id"], state.classes.get(task, ()))
        if why:
            expected[task] = why
    found = with_enough(small, made, state)
    assert found.off == expected
    assert 0 < len(expected) < len(made.windows), "the data are thin, but not too thin"
    assert found.model_copy(update={"off": {}, "merged": {}, "classes": state.classes}) == state
    assert LabelState.from_dict(found.to_dict()) == found


def test_what_happens_after_training_switches_nothing_off_or_on(small: Tables, state: LabelState) -> None:
    made = planned(small)
    other = with_changed_events(small, made.holdout_start, 1)
    assert with_enough(other, made, state) == with_enough(small, made, state)


def test_enough_data_switch_nothing_off_and_are_read_once(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    snapshot = enough.Snapshot
    monkeypatch.setattr(enough, "Snapshot", lambda t, day, s: seen.append(day) or snapshot(t, day, s))
    made = planned(tables)
    fitted = fit_labels(tables, made)
    assert with_enough(tables, made, fitted) == fitted
    assert seen == list(reversed(made.train))[: len(seen)]
    assert len(seen) < len(made.train) / 2, "long windows have no label on the newest training dates"


def test_without_any_task_left_one_sentence_says_of_each_why(make_tables: Callable[..., Tables]) -> None:
    tables = make_tables(1, customers=12, lines=600)
    made = planned(tables)
    with pytest.raises(NotEnoughLabels, match=r"no task has enough training labels as of 2018-01-01 \(ctr: .*churn: 1"):
        with_enough(tables, made, fit_labels(tables, made))


def test_a_task_without_a_label_on_any_training_date_is_off(small: Tables, state: LabelState) -> None:
    made = planned(small)
    late = SnapshotPlan(made.as_of, made.windows, made.train[-1:], made.holdout, made.holdout_start)
    assert made.train[-1] + timedelta(days=84) > made.holdout_start
    assert with_enough(small, late, state).off["ltv"] == "no training row has a label"
