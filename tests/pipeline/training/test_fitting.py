"""The feature state is fitted once a training, on its training dates only."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from feature_assets.data.tables import Tables
from feature_assets.group import GroupState
from feature_assets.state import FeatureState
from pipeline.training import fitting
from tests.pipeline.small_training import Material


def test_a_fitted_state_is_saved_and_not_fitted_again(
    made: Material, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    calls: list[tuple[Any, ...]] = []

    def fit_state(tables: Tables, dates: tuple, seed: int, progress: Any) -> FeatureState:
        calls.append((tables, dates, seed))
        progress("base")
        return made.state

    monkeypatch.setattr(fitting, "fit_state", fit_state)
    tables = cast("Tables", object())
    made.workspace.take_up("other")
    for _ in range(2):
        state = fitting.fit(made.workspace, tables, made.plan, 7, said.append)
        assert state.version == made.state.version
    assert calls == [(tables, made.plan.train, 7)]
    assert said == ["base"]


def test_the_table_counts_arrays_and_values(made: Material) -> None:
    assert fitting.state_table(made.state).rows() == [("normalise", 0, 0, "")]


def test_the_table_says_how_many_clusters_were_fitted(made: Material) -> None:
    for weights, told in ((6, "clusters 6 of 20: 60 training customers carry no more"), (20, "clusters 20 of 20")):
        mixture = GroupState({"weights": np.ones(weights)}, {"customers": 60})
        state = FeatureState({**made.state.groups, "gmm": mixture}, made.state.present)
        assert fitting.state_table(state)["fitted"].to_list() == ["", told]
