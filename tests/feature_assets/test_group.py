"""The base class of a feature group: the frame that it builds, the state that it asks for, its errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from feature_assets import registry
from feature_assets.events.view import View
from feature_assets.group import (
    Column,
    FeatureGroup,
    GroupState,
    Inputs,
    SideInput,
    StateError,
    TrainingInputs,
    Values,
)
from tests.deliveries import synthetic


def view() -> View:
    return View(synthetic.tables(), synthetic.AS_OF)


class Given(FeatureGroup):
    """Returns the values that it was given."""

    name = "given"
    description = "for the test"
    sources = ("customers",)
    columns = (Column("given__a", "a", "count", "none"), Column("given__b", "b", "count", "none"))
    side_inputs = (
        SideInput("flags", "flags", (2,), pl.Boolean),
        SideInput("grid", "grid", (2, 3), pl.Float32),
    )

    def __init__(self, values: Values) -> None:
        self.values = values

    def _values(self, inputs: Inputs) -> Values:
        assert inputs.group == "given"
        return self.values


class Learner(FeatureGroup):
    """The seed, the number of dates and of upstream frames, and what a column says under them."""

    name = "learner"
    description = "for the test"
    sources = ("customers",)
    needs = ("given",)
    columns = (Column("learner__level", "level", "count", "none"),)

    def _learn(self, training: TrainingInputs) -> GroupState:
        return GroupState({"level": np.array([training.seed, len(training.views), len(training.upstream)])})

    def _values(self, inputs: Inputs) -> Values:
        level = inputs.state.arrays["level"].sum() + len(inputs.upstream)
        return Values(np.full((inputs.view.customers.height, 1), float(level)))


def _values(n: int) -> Values:
    rows = np.arange(n, dtype=np.float64)
    columns = np.stack([rows, np.where(rows == 1, np.nan, -rows)], axis=1)
    grid = np.arange(n * 6, dtype=np.int64).reshape(n, 2, 3)
    return Values(columns, {"grid": grid, "flags": np.stack([rows > 1, rows > 2], axis=1)}, {"grid": rows != 2})


def test_the_frame_has_the_declared_order_types_and_nulls() -> None:
    t = view()
    n = t.customers.height
    group = Given(_values(n))
    frame = group.compute(t, None, {})
    assert frame.schema == {
        "customer_id": pl.String,
        "given__a": pl.Float32,
        "given__b": pl.Float32,
        "flags": pl.List(pl.Boolean),
        "grid": pl.List(pl.Float32),
    }
    assert frame["customer_id"].equals(t.customers["customer_id"])
    assert frame["given__b"].to_list()[:3] == [0.0, None, -2.0]
    assert frame["flags"].to_list()[2] == [True, False]
    assert frame["grid"].to_list()[1:4] == [[6, 7, 8, 9, 10, 11], None, [18, 19, 20, 21, 22, 23]]
    assert group.fit([t], [{}], 0) == GroupState()  # nothing to learn


def test_nobody_gives_an_empty_frame_of_the_same_types() -> None:
    nobody = View(synthetic.tables(), synthetic.tables().dataset.covers_from)
    assert nobody.customers.height == 0
    t = view()
    frame = Given(_values(0)).compute(nobody, None, {})
    assert frame.schema == Given(_values(t.customers.height)).compute(t, None, {}).schema
    assert frame.height == 0


def test_values_that_are_not_what_is_declared_are_an_error() -> None:
    t = view()
    right = _values(t.customers.height)
    assert right.columns is not None
    infinite = np.where(np.arange(2) == 0, np.inf, right.columns)
    wrong = {
        "computed columns of shape None": replace(right, columns=None),
        "computed columns of shape": replace(right, columns=right.columns[:, :1]),
        r"infinite values in \['given__a'\]": replace(right, columns=infinite),
        r"side inputs \['grid'\]; it declares": replace(right, sides={"grid": right.sides["grid"]}),
        "side inputs .*'more'.*; it declares": replace(right, sides={**right.sides, "more": right.sides["grid"]}),
    }
    for message, values in wrong.items():
        with pytest.raises(ValueError, match=message):
            Given(values).compute(t, None, {})


def test_learning_sees_dates_upstream_and_seed_and_computing_sees_the_state() -> None:
    t, group = view(), Learner()
    state = group.fit([t, t], [{}, {}], seed=5)
    assert state.arrays["level"].tolist() == [5, 2, 2]
    upstream = {"given": pl.DataFrame()}
    assert group.compute(t, state, upstream)["learner__level"].unique().to_list() == [10.0]


def _learns(group: FeatureGroup) -> bool:
    return type(group)._learn is not FeatureGroup._learn and getattr(group, "_fit", True) is not None


LEARNERS = [group for group in (*registry.registry().values(), Learner()) if _learns(group)]


@pytest.mark.parametrize("group", LEARNERS, ids=lambda group: group.name)
def test_a_missing_state_is_one_error_that_names_the_group(group: FeatureGroup) -> None:
    with pytest.raises(StateError, match=f"group {group.name} needs its fitted state: fit it on the training dates"):
        group.compute(view(), None, {})


def test_a_group_that_learns_nothing_needs_no_state() -> None:
    assert len(LEARNERS) < len(registry.registry())
    frame = registry.registry()["digital"].compute(view(), None, {})
    assert frame.height == view().customers.height


def test_python_objects_cannot_enter_a_state() -> None:
    with pytest.raises(StateError, match="vocabulary"):
        GroupState({"vocabulary": np.array(["a", None], dtype=object)})
