"""Mixtures and chains take fewer components when customers are few, and all of them otherwise."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from feature_assets import build, normalise
from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState
from feature_assets.groups import base
from feature_assets.groups.components import fitted_components, training_customers, words
from feature_assets.groups.domain import gmm
from feature_assets.groups.model_derived import hmm
from feature_assets.groups.model_derived.hmm.bridge import MEASURES
from feature_assets.groups.model_derived.hmm.observations import MODES
from tests.deliveries import synthetic

CUSTOMERS = 60
DAYS = (date(2017, 2, 12), date(2017, 2, 26))  # 42 and 56 days after the first day of data
CLUSTERS, STATES = 6, 4  # of 60 customers: 60 / 10, 60 / 15


@lru_cache(maxsize=1)
def tables() -> Tables:
    """60 customers, all of them known from the first day of data on."""
    made = synthetic.tables(CUSTOMERS)
    customers = made.frames["customers"].with_columns(joined_on=synthetic.FIRST)
    return Tables(made.dataset, {**made.frames, "customers": customers})


@lru_cache(maxsize=1)
def views() -> list[View]:
    """No more than the first 56 days are seen."""
    return [View(tables(), day) for day in DAYS]


def without_values(frame: pl.DataFrame) -> set[str]:
    return {name for name in frame.columns if frame[name].null_count() == frame.height}


@pytest.mark.parametrize(
    ("most", "each"), [(gmm.CLUSTERS, gmm.CUSTOMERS_EACH), *((mode.states, hmm.CUSTOMERS_EACH) for mode in MODES)]
)
def test_where_customers_are_many_all_components_are_fitted(most: int, each: int) -> None:
    """The embedded data set has 2,469 customers, a bank simulation 300 and more, some of whom join after the fit."""
    assert {fitted_components(customers, most, each) for customers in (200, 250, 300, 2_469, 1_000_000)} == {most}
    counts = [fitted_components(customers, most, each) for customers in range(400)]
    assert counts == sorted(counts)
    assert counts[0] == 2
    for customers in range(2 * each, most * each):  # by hand: each component has its customers, one more would not
        assert counts[customers] * each <= customers < (counts[customers] + 1) * each


def test_customers_are_counted_once_over_all_dates() -> None:
    assert training_customers(views()) == CUSTOMERS
    assert sum(view.customers.height for view in views()) == 2 * CUSTOMERS


def test_the_words_say_why_there_are_fewer() -> None:
    assert words(20, 20, 300) == "20 of 20"
    assert words(6, 20, 60) == "6 of 20: 60 training customers carry no more"


@lru_cache(maxsize=1)
def scaled() -> list[dict[str, pl.DataFrame]]:
    group = base.GROUP
    state = group.fit(views(), [], 0)
    frames = [group.compute(view, state, {}) for view in views()]
    names = [column.name for column in group.columns]
    matrix = np.concatenate([frame.select(names).cast(pl.Float64).to_numpy() for frame in frames])
    known = [i for i, name in enumerate(names) if name not in normalise.degenerate(names, matrix)]
    scaler = normalise.fit([names[i] for i in known], matrix[:, known])
    return [{"base": normalise.apply(scaler, frame)} for frame in frames]


@lru_cache(maxsize=1)
def mixture() -> GroupState:
    return gmm.GROUP.fit(views(), scaled(), 0)


def test_sixty_customers_carry_six_clusters() -> None:
    state = mixture()
    assert (state.meta["clusters"], state.meta["customers"]) == (CLUSTERS, CUSTOMERS)
    assert len(state.arrays["weights"]) == len(state.meta["shares"]) == CLUSTERS
    assert gmm.GROUP.facts(state) == {"clusters": "6 of 20: 60 training customers carry no more"}


def test_clusters_beyond_are_absent_and_the_others_are_a_whole_mixture() -> None:
    frame = gmm.GROUP.compute(views()[-1], mixture(), scaled()[-1])
    beyond = {f"gmm__posterior_{k:02d}" for k in range(CLUSTERS, gmm.CLUSTERS)}
    assert without_values(frame) == beyond
    faults = normalise.degenerate(
        [column.name for column in gmm.GROUP.columns],
        frame.select(column.name for column in gmm.GROUP.columns).cast(pl.Float64).to_numpy(),
    )
    assert {name for name in faults if "posterior" in name} == beyond
    given = np.array(frame["cluster_probs"].to_list())
    assert given.shape == (CUSTOMERS, gmm.CLUSTERS)
    assert (given[:, CLUSTERS:] == 0).all()
    np.testing.assert_allclose(given.sum(axis=1), 1.0, atol=1e-6)
    posterior = given[:, :CLUSTERS].astype(np.float64)
    entropy = -(posterior * np.log(np.where(posterior > 0, posterior, 1.0))).sum(axis=1) / np.log(CLUSTERS)
    np.testing.assert_allclose(frame["gmm__entropy"].to_numpy(), entropy, atol=1e-5)


@lru_cache(maxsize=1)
def chains() -> GroupState:
    return hmm.GROUP.fit(views(), [], 0)


def test_sixty_customers_carry_four_states() -> None:
    state = chains()
    for mode in MODES:
        assert state.arrays[f"{mode.name}_transmat"].shape == (STATES, STATES)
        assert state.meta[mode.name]["states"] == STATES
    told = "4 of {}: 60 training customers carry no more"
    assert hmm.GROUP.facts(state) == {f"{mode.name} states": told.format(mode.states) for mode in MODES}


def test_posteriors_of_states_beyond_are_absent() -> None:
    state = chains()
    assert [name for name in MEASURES if name not in state.meta["channels_present"]] == [
        f"posterior_{k}" for k in range(STATES, 6)
    ]
    frame = hmm.GROUP.compute(views()[-1], state, {})
    for mode in MODES:
        values = np.array(frame[f"hmm_{mode.name}"].to_list())
        np.testing.assert_allclose(values[:, :STATES].sum(axis=1), 1.0, atol=1e-6)
        assert (values[:, STATES:6] == 0).all()
        assert np.isfinite(values).all()
    assert frame["hmm_summary__dominant_state"].drop_nulls().is_between(0, STATES - 1).all()
    assert frame["hmm_summary__path_entropy"].is_between(0, 1).all()


@pytest.mark.trial
def test_every_group_is_fitted_and_computed() -> None:
    state = build.fit_state(tables(), DAYS, seed=0)
    assert {name for name in state.present if name.startswith("gmm__posterior")} == {
        f"gmm__posterior_{k:02d}" for k in range(CLUSTERS)
    }
    later = View(tables(), DAYS[-1] + timedelta(days=4))  # the 60th day is over
    matrix = build.assemble(later, build.compute_all(later, state), state)
    assert matrix.height == CUSTOMERS
    np.testing.assert_allclose(matrix["cluster_probs"].list.sum().to_numpy(), 1.0, atol=1e-5)
