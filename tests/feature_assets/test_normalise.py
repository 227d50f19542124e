"""Scaling: what it does to distributions, to the missing, to what does not vary, and what it refuses."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from feature_assets import build, normalise, registry
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState, StateError
from feature_assets.state import FeatureState
from tests.deliveries import synthetic

RNG = np.random.default_rng(0)


@lru_cache(maxsize=1)
def _fitted() -> tuple[Tables, FeatureState]:
    whole = synthetic.tables()
    return whole, build.fit_state(whole, synthetic.TRAIN, seed=0)


def _frame(**columns: np.ndarray) -> pl.DataFrame:
    ids = [str(i) for i in range(len(next(iter(columns.values()))))]
    return pl.DataFrame({"customer_id": ids, **columns}).with_columns(pl.exclude("customer_id").fill_nan(None))


def _both(values: np.ndarray) -> np.ndarray:
    state = normalise.fit(["x"], values[:, None])
    return normalise.apply(state, _frame(x=values))["x"].to_numpy()


def test_heavy_tails_become_normal() -> None:
    scaled = _both(np.exp(2 * RNG.standard_normal(5000)))
    assert kstest(scaled, "norm").statistic < 0.01


def test_ties_share_their_middle_rank() -> None:
    values = np.where(RNG.random(4000) < 0.6, 0.0, RNG.gamma(1.0, 1.0, 4000))
    scaled = _both(values)
    at_zero = scaled[values == 0]
    assert np.ptp(at_zero) == 0
    assert abs(at_zero[0] + 0.524) < 0.05  # the normal score of 0.3, the middle of 0 … 0.6
    assert scaled[values > 0].min() > at_zero[0]


def test_few_values_are_centred_and_divided() -> None:
    values = np.repeat([1.0, 2.0, 3.0, 4.0], 100)
    np.testing.assert_allclose(_both(values)[[0, -1]], [-1.5 * 1.349 / 1.5, 1.5 * 1.349 / 1.5], rtol=1e-6)
    rare = np.array([0.0] * 990 + [1.0] * 10)  # the middle half is one value: mean and standard deviation
    assert _both(rare).max() == normalise.LIMIT
    assert abs(_both(rare)[0] + 0.1005) < 1e-3


@settings(max_examples=60, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(st.lists(st.floats(-1e12, 1e12), min_size=40, max_size=120, unique=True))
def test_order_is_kept_and_limits_hold(values: list[float]) -> None:
    fitted, new = np.array(values[::2] * 2), np.array(values)
    if normalise.degenerate(["x"], fitted[:, None]):
        return
    state = normalise.fit(["x"], fitted[:, None])
    scaled = normalise.apply(state, _frame(x=new))["x"].to_numpy()
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() <= normalise.LIMIT
    assert (np.diff(scaled[np.argsort(new)]) >= -1e-6).all()


def test_missing_stays_missing_and_is_not_seen_by_the_fit() -> None:
    values = RNG.gamma(1.0, 1.0, 500)
    holes = values.copy()
    holes[::3] = np.nan
    state = normalise.fit(["x"], holes[:, None])
    same = normalise.fit(["x"], holes[np.isfinite(holes)][:, None])
    np.testing.assert_array_equal(state.arrays["knots"], same.arrays["knots"])
    scaled = normalise.apply(state, _frame(x=holes))["x"]
    assert scaled.is_null().to_list() == np.isnan(holes).tolist()


def test_what_does_not_vary_is_named_and_refused() -> None:
    matrix = np.column_stack([np.full(50, 3.0), np.full(50, np.nan), np.arange(50.0)])
    faults = normalise.degenerate(["flat", "empty", "fine"], matrix)
    assert faults == {"flat": "constant on the training rows (3)", "empty": "missing on every training row"}
    with pytest.raises(ValueError, match="flat"):
        normalise.fit(["flat", "empty", "fine"], matrix)


def test_a_column_is_scaled_alone() -> None:
    """Rows and columns beside it change nothing, and merging normalisers is fitting them together."""
    matrix = RNG.gamma(1.0, 1.0, (300, 3))
    together = normalise.fit(["a", "b", "c"], matrix)
    apart = normalise.merge([normalise.fit([n], matrix[:, [i]]) for i, n in enumerate("abc")])
    for key, array in together.arrays.items():
        np.testing.assert_array_equal(array, apart.arrays[key])
    assert together.meta == apart.meta
    frame = _frame(a=matrix[:, 0], b=matrix[:, 1], c=matrix[:, 2], stranger=matrix[:, 0])
    whole = normalise.apply(together, frame)
    assert whole.columns == ["customer_id", "a", "b", "c"]
    assert whole[10:20].equals(normalise.apply(together, frame[10:20]))


def test_fit_state_reports_what_it_dropped_and_does_not_write_it() -> None:
    """A column that says nothing in training is absent rather than zero."""
    whole = synthetic.tables()
    plain = whole.frames["transactions"].with_columns(discount=pl.lit(0.0))
    tables = Tables(whole.dataset, whole.frames | {"transactions": plain})
    state = build.fit_state(tables, synthetic.TRAIN, seed=0)
    dropped = state.groups["normalise"].meta["dropped"]
    assert "raw_power_law__discount_28d" in dropped
    assert not set(dropped) & set(state.present)
    view = View(tables, synthetic.AS_OF)
    frame = build.assemble(view, build.compute_all(view, state), state)
    assert "raw_power_law__discount_28d" not in frame.columns


def test_absent_tables_are_absent_columns_and_a_lost_table_is_an_error() -> None:
    whole = synthetic.tables()
    fewer = {name: frame for name, frame in whole.frames.items() if name not in ("campaigns", "campaign_events")}
    tables = Tables(whole.dataset, fewer)
    state = build.fit_state(tables, synthetic.TRAIN, seed=0)
    assert "campaign" not in build.groups_of(state)
    assert not [name for name in state.present if name.startswith("campaign__")]
    assert "gmm" in build.compute_all(View(tables, synthetic.AS_OF), state, only=["gmm"])
    with pytest.raises(StateError, match=r"campaign.*campaign_events"):
        build.compute_all(View(tables, synthetic.AS_OF), _fitted()[1])


def test_a_state_of_something_else_is_refused() -> None:
    whole, state = _fitted()
    view = View(whole, synthetic.AS_OF)
    outputs = build.compute_all(view, state)
    elsewhere = Tables(whole.dataset.model_copy(update={"name": "other"}), whole.frames)
    with pytest.raises(StateError, match="'synthetic', this is 'other'"):
        build.assemble(View(elsewhere, synthetic.AS_OF), outputs, state)
    with pytest.raises(StateError, match="disagree"):
        build.assemble(view, outputs, FeatureState(state.groups, state.present[1:]))
    with pytest.raises(registry.SchemaError, match="stranger"):
        build.assemble(view, outputs, FeatureState(state.groups, [*state.present, "stranger"]))
    with pytest.raises(StateError, match="no normaliser"):
        build.assemble(view, outputs, FeatureState({"txn_seq": GroupState()}, []))
    with pytest.raises(build.FeatureError, match="campaign"):
        build.assemble(view, {n: f for n, f in outputs.items() if n != "campaign"}, state)
    with pytest.raises(build.FeatureError, match="customers"):
        build.assemble(view, outputs | {"campaign": outputs["campaign"].reverse()}, state)
    with pytest.raises(build.FeatureError, match="undeclared"):
        build.assemble(view, outputs | {"campaign": outputs["campaign"].with_columns(extra=1.0)}, state)
