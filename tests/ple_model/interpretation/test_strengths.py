from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from ple_model.config import InputConfig
from ple_model.interpretation.attribution import Attribution
from ple_model.interpretation.sources import Sources
from ple_model.interpretation.strengths import direction, strengths

CONFIG = InputConfig(columns=("a__x", "a__y", "b__z"), present=(0, 1, 2), normalised=3, sides=())


def test_the_strongest_comes_first_with_its_direction() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 3)).astype(np.float32)
    values[::4, 1] = np.nan
    contributions = np.column_stack([-0.1 * values[:, 0], np.where(np.isnan(values[:, 1]), 0.3, values[:, 1] ** 3)])
    contributions = np.column_stack([contributions, np.zeros(30), rng.normal(size=30) * 1e-3])
    nothing = np.zeros(30)
    found = Attribution("churn", "log odds", (), nothing, nothing, contributions, np.abs(contributions), nothing)
    frame = strengths(found, Sources.of(CONFIG), values)
    assert frame["source"].to_list() == ["a__y", "a__x", "cluster_probs", "b__z"]
    rows = {row["source"]: row for row in frame.to_dicts()}
    size = np.abs(contributions)
    assert rows["a__y"]["strength"] == pytest.approx(size[:, 1].mean())
    assert rows["a__y"]["error"] == pytest.approx(size[:, 1].std(ddof=1) / 30**0.5)
    assert rows["a__y"]["direction"] == pytest.approx(1.0)
    assert rows["a__x"]["direction"] == pytest.approx(-1.0)
    assert rows["b__z"]["direction"] is None  # it adds nothing
    assert rows["cluster_probs"]["direction"] is None  # it has no order
    assert frame["share"].sum() == pytest.approx(1.0)
    assert rows["a__x"]["share"] == pytest.approx(size[:, 0].mean() / size.mean(axis=0).sum())


def test_the_direction_is_the_rank_correlation_over_given_values() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 4, 40).astype(np.float32)
    values[:7] = np.nan
    moved = rng.normal(size=40)
    assert direction(values, moved) == pytest.approx(spearmanr(values[7:], moved[7:]).statistic)
    assert direction(values[:9], moved[:9]) is None
    assert direction(np.full(40, 2.0, np.float32), moved) is None
