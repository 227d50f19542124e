"""The HMM group: observations against plain loops, the fit on planted chains, the switch to hmmlearn, the summary."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_assets.data.tables import Tables
from feature_assets.events.view import View
from feature_assets.group import GroupState, StateError
from feature_assets.groups.model_derived.hmm import MEASURES, SCALED, Hmm, fit, library, restored, scaled, summarise
from feature_assets.groups.model_derived.hmm.fit import activity, fit_model, order_of
from feature_assets.groups.model_derived.hmm.model import Model, Steps, decode, smooth
from feature_assets.groups.model_derived.hmm.observations import MODES, Observed, choose, lengths, raw, steps
from feature_assets.groups.model_derived.hmm.picture import state_path
from tests.deliveries import synthetic
from tests.feature_assets import plain_view

JOURNEY, LIFECYCLE, BEHAVIOR = MODES
SUMMARY = [column.name for column in Hmm.columns]


@lru_cache(maxsize=1)
def whole() -> Tables:
    return synthetic.tables()


def view(tables: Tables | None = None) -> View:
    return View(tables or whole(), synthetic.AS_OF)


def without(*names: str) -> Tables:
    return Tables(whole().dataset, {name: frame for name, frame in whole().frames.items() if name not in names})


@lru_cache(maxsize=1)
def fitted() -> GroupState:
    training = synthetic.training_tables(whole())
    return Hmm().fit([View(training, day) for day in synthetic.TRAIN], [], 0)


def side(frame: pl.DataFrame, name: str) -> np.ndarray:
    return np.array(frame[f"hmm_{name}"].to_list())


# --- what is observed


def test_journey_against_a_plain_loop() -> None:
    observed = choose([view()], JOURNEY)
    assert observed.channels == ("sessions", "impressions", "clicks", "transactions", "amount")
    at = view()
    values = raw(at, JOURNEY, observed, range(at.customers.height))
    local = pl.col("at").dt.convert_time_zone(synthetic.ZONE).dt.date().alias("day")
    known = plain_view.known_frames(whole(), synthetic.AS_OF)
    lines = known["transactions"].filter(pl.col("kind") == "purchase").with_columns(local)
    sessions = known["sessions"].with_columns(local)
    shown = known["campaign_events"].with_columns(local)
    for i in range(0, at.customers.height, 7):
        own = pl.col("customer_id") == at.customers["customer_id"][i]
        for t in range(0, 90, 3):
            today = own & (pl.col("day") == synthetic.AS_OF - timedelta(days=90 - t))
            bought, events = lines.filter(today), shown.filter(today)["event"]
            counts = [
                sessions.filter(today).height,
                (events == "impression").sum(),
                (events == "click").sum(),
                bought["basket_id"].n_unique(),
            ]
            assert values[i, t, :4].tolist() == counts
            spent = bought["amount"].sum()
            np.testing.assert_allclose(values[i, t, 4], np.log1p(spent) if spent > 0 else np.nan)


def test_months_against_a_plain_loop() -> None:
    at = view()
    everyone = range(at.customers.height)
    observed, mixed = choose([at], LIFECYCLE), choose([at], BEHAVIOR)
    assert observed.channels == ("purchase_days", "spend", "breadth", "recency")
    values, mixes = raw(at, LIFECYCLE, observed, everyone), raw(at, BEHAVIOR, mixed, everyone)
    lines = plain_view.purchases(whole(), synthetic.AS_OF).rename({"day": "date"})
    for i in range(0, at.customers.height, 5):
        own = lines.filter(pl.col("row") == i)
        for t in (18, 20, 22, 23):
            end = synthetic.AS_OF - timedelta(days=30 * (23 - t))
            month = own.filter((pl.col("date") < end) & (pl.col("date") >= end - timedelta(days=30)))
            assert values[i, t, 0] == mixes[i, t, 0] == month["date"].n_unique()
            if month.height:
                expected = [np.log1p(month["amount"].sum()), np.log1p(month[observed.breadth].drop_nulls().n_unique())]
                np.testing.assert_allclose(values[i, t, 1:3], [v if v > 0 else np.nan for v in expected])
            else:
                assert np.isnan(values[i, t, 1:3]).all()
            before = own.filter(pl.col("date") < end)["date"].max()
            recency = np.nan if before is None else np.log1p((end - before).days)  # type: ignore[operator]
            np.testing.assert_allclose(values[i, t, 3], recency)
            known = month.filter(pl.col("category_l1").is_not_null())["category_l1"].to_list()
            codes, shares = mixed.vocabulary["category"], mixed.shares["category"]
            if known:
                places = [codes.index(c) if c in codes else len(codes) for c in known]
                logs = np.log((np.bincount(places, minlength=len(shares)) + 4.0 * shares) / (len(places) + 4.0))
                column = mixed.channels.index("category_0")
                np.testing.assert_allclose(mixes[i, t, column : column + 3], (logs - logs.mean())[:3], atol=1e-12)


def test_steps_before_a_customer_joined_do_not_exist() -> None:
    at = view()
    tenure = (pl.lit(at.as_of) - pl.col("joined_on")).dt.total_days()
    days = at.customers.select(tenure).to_series().to_numpy()
    np.testing.assert_array_equal(lengths(at, JOURNEY), np.minimum(days, 90))
    np.testing.assert_array_equal(lengths(at, LIFECYCLE), np.clip(days // 30, 1, 24))
    observed = replace(choose([at], JOURNEY), centre=np.zeros(5), scale=np.ones(5))
    part = steps(at, JOURNEY, observed, range(at.customers.height))
    np.testing.assert_array_equal(np.diff(part.start), lengths(at, JOURNEY))
    early = whole().frames | {"customers": whole().frames["customers"].with_columns(joined_on=date(2001, 1, 1))}
    covered = (synthetic.AS_OF - synthetic.FIRST).days  # nor do steps before the first day of data
    assert set(lengths(view(Tables(whole().dataset, early)), LIFECYCLE)) == {covered // 30}
    assert len(part.values) == part.start[-1]


def test_channels_are_those_of_the_data_set() -> None:
    tables = without("sessions", "campaign_events", "campaigns", "products")
    assert choose([view(tables)], JOURNEY).channels == ("transactions", "amount")
    assert choose([view(tables)], LIFECYCLE).breadth in ("product_id", "merchant_id")
    state = Hmm().fit([View(tables, day) for day in synthetic.TRAIN], [], 0)
    frame = Hmm().compute(view(tables), state, {})
    assert np.isfinite(side(frame, "journey")).all()
    with pytest.raises(StateError, match="sessions"):
        Hmm().compute(view(tables), fitted(), {})


# --- the fit


def planted(mode_states: int = 5) -> tuple[Model, Observed]:
    """A journey of five states: rates of two counts and a value that is observed when the second is not 0."""
    observed = Observed(("sessions", "transactions", "amount"), centre=np.zeros(3), scale=np.ones(3))
    rates = np.array([[0.02, 0.01], [0.3, 0.1], [1.0, 0.15], [0.8, 0.9], [4.0, 2.5]])[:mode_states]
    transmat = np.full((mode_states, mode_states), 0.01)
    np.fill_diagonal(transmat, 1.0 - 0.01 * (mode_states - 1))
    location = np.column_stack([rates, [0.0, -0.5, 0.5, -1.0, 1.0][:mode_states]])
    spread = np.tile([1.0, 1.0, 0.5], (mode_states, 1))
    return Model(np.full(mode_states, 1 / mode_states), transmat, observed.poisson, location, spread), observed


def drawn(model: Model, rng: np.random.Generator, sequences: int, length: int = 90) -> Steps:
    state = rng.choice(model.states, sequences, p=model.startprob)
    values = np.zeros((sequences, length, 3))
    cumulated = model.transmat.cumsum(axis=1)
    for t in range(length):
        values[:, t, :2] = rng.poisson(model.location[state, :2])
        amount = rng.normal(model.location[state, 2], np.sqrt(model.spread[state, 2]))
        values[:, t, 2] = np.where(values[:, t, 1] > 0, amount, np.nan)
        state = (rng.random(sequences)[:, None] > cumulated[state]).sum(axis=1).clip(max=model.states - 1)
    return Steps.of(values, rng.integers(10, length + 1, sequences))


@lru_cache(maxsize=2)
def refitted(seed: int) -> Model:
    model, observed = planted()
    rng = np.random.default_rng([seed, 1])
    return fit_model(drawn(model, rng, 300), JOURNEY, observed, np.random.default_rng(seed))[0]


def test_the_planted_chain_is_recovered_in_the_order_of_activity() -> None:
    model, observed = planted()
    found = refitted(0)
    np.testing.assert_allclose(found.location[:, :2], model.location[:, :2], rtol=0.15, atol=0.03)
    np.testing.assert_allclose(found.transmat, model.transmat, atol=0.02)
    assert (np.diff(activity(found, JOURNEY, observed)) > 0).all()


def test_states_keep_their_numbers_over_disjoint_samples() -> None:
    third = drawn(planted()[0], np.random.default_rng(99), 300)
    paths = [smooth(refitted(seed), third).posterior.argmax(axis=1) for seed in (0, 1)]
    assert (paths[0] == paths[1]).mean() > 0.97


def test_states_keep_their_numbers_on_the_embedded_data(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of the households, two seeds: the same customers are in the same state at the last step."""
    monkeypatch.setattr(fit, "SEQUENCES", {"journey": 700, "lifecycle": 2_000, "behavior": 2_000})
    days = [date(2017, 6, 4), date(2017, 7, 30)]
    states = [Hmm().fit([View(tables, day, (i, 2)) for day in days], [], seed=i) for i in (0, 1)]
    frames = [Hmm().compute(View(tables, date(2017, 10, 1), (0, 4)), state, {}) for state in states]
    for mode in MODES:
        last = [side(frame, mode.name)[:, :6].argmax(axis=1) for frame in frames]
        assert (last[0] == last[1]).mean() > 0.7, mode.name


def test_equally_active_states_are_ordered_by_what_tells_them_apart() -> None:
    model, observed = planted(3)
    close = np.array([[1.00, 1.0, 0.5], [0.01, 0.01, 0.0], [1.01, 1.02, -0.5]])
    for first in (close, close[[2, 1, 0]]):
        ordered = first[order_of(replace(model, location=first), JOURNEY, observed)]
        np.testing.assert_array_equal(ordered[:, 2], [0.0, -0.5, 0.5])


def test_em_by_the_kernel_equals_em_by_hmmlearn() -> None:
    model, _ = planted()
    sample = drawn(model, np.random.default_rng(4), 40, 30)
    X, sizes = library.packed(sample)
    start = replace(model, location=model.location * 1.5 + 0.1)
    fits = [library.MixedHMM(start, 5, 0.0, who).fit(X, sizes) for who in ("numba", "hmmlearn")]
    for name in ("startprob", "transmat", "location", "spread"):
        np.testing.assert_allclose(*(getattr(f.model, name) for f in fits), rtol=0, atol=1e-8)
    np.testing.assert_allclose(fits[0].monitor_.history[-1], fits[1].monitor_.history[-1], rtol=1e-12)


def fingerprint() -> str:
    """Digest of the fitted state and of what it computes, for comparison between processes."""
    sha = hashlib.sha256()
    for name, array in sorted(fitted().arrays.items()):
        sha.update(name.encode() + array.tobytes())
    frame = Hmm().compute(view(), fitted(), {})
    sha.update(frame.select(SUMMARY).fill_null(-1).to_numpy().tobytes())
    for mode in MODES:
        sha.update(side(frame, mode.name).tobytes())
    return sha.hexdigest()


def test_the_fit_has_the_same_bits_with_any_number_of_threads(tmp_path: Path) -> None:
    threads = "3" if os.environ.get("OMP_NUM_THREADS") == "1" else "1"
    names = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, threads)
    environment |= {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[5])}
    script = "from tests.feature_assets.groups.model_derived.hmm import test_hmm as t; print(t.fingerprint())"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [fingerprint()]


# --- the group


def test_the_library_gives_the_same_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Hmm().compute(view(), fitted(), {})
    asked: list[str] = []

    def watched(name: str) -> Callable[[Model, Steps], Any]:
        original = getattr(library, name)

        def call(model: Model, part: Steps) -> Any:
            asked.append(name)
            return original(model, part)

        return call

    for name in ("smooth", "decode"):
        monkeypatch.setattr(library, name, watched(name))
    theirs = Hmm("hmmlearn").compute(view(), fitted(), {})
    assert asked.count("smooth") == 3
    assert asked.count("decode") == 1
    for mode in MODES:
        np.testing.assert_allclose(side(theirs, mode.name), side(ours, mode.name), rtol=0, atol=1e-6)  # Float32
        observed, model, _ = restored(fitted(), mode)
        part = steps(view(), mode, observed, range(40))
        both = [smooth(model, part, who) for who in ("numba", "hmmlearn")]
        np.testing.assert_allclose(both[0].posterior, both[1].posterior, rtol=0, atol=1e-8)
        np.testing.assert_allclose(both[0].log_likelihood, both[1].log_likelihood, rtol=1e-10)
    assert theirs.select(SUMMARY).equals(ours.select(SUMMARY), null_equal=True)


def test_the_summary_of_known_paths() -> None:
    """Emissions that leave no doubt: the path is what was drawn."""
    levels = np.arange(5.0)[:, None] * 100.0
    model = Model(np.full(5, 0.2), np.full((5, 5), 0.2), np.array([False]), levels, np.ones((5, 1)))
    paths = [[3], [1, 1, 1, 1], [0, 2, 0, 2], [4, 4, 0, 4, 0, 0], [0, 0, 0, 3, 3, 0]]
    dense = np.full((5, 6, 1), np.nan)
    for i, path in enumerate(paths):
        dense[i, 6 - len(path) :, 0] = np.array(path) * 100.0
    part = Steps.of(dense, np.array([len(path) for path in paths]))
    np.testing.assert_array_equal(decode(model, part), np.concatenate(paths))
    result = summarise(model, part)
    np.testing.assert_array_equal(result[:, 0], [3, 1, 2, 0, 0])  # as many months: the one that was left last
    np.testing.assert_array_equal(result[:, 1], [30, 120, 30, 60, 90])
    np.testing.assert_allclose(result[:, 2], [1, 1, 0.5, 0.5, 4 / 6])
    np.testing.assert_allclose(result[:, 3], 0.0, atol=1e-12)
    np.testing.assert_allclose(result[:, 4], [np.nan, 0, 1, 0.6, 0.4])


def test_path_entropy_is_one_where_nothing_is_known() -> None:
    model = Model(np.full(5, 0.2), np.full((5, 5), 0.2), np.array([False]), np.zeros((5, 1)), np.ones((5, 1)))
    np.testing.assert_allclose(summarise(model, Steps.of(np.full((1, 6, 1), np.nan), np.array([6])))[:, 3], 1.0)


def test_side_inputs_are_complete_and_in_order() -> None:
    frame = Hmm().compute(view(), fitted(), {})
    assert frame["customer_id"].equals(view().customers["customer_id"])
    for mode in MODES:
        values = side(frame, mode.name)
        assert values.shape == (frame.height, 16)
        np.testing.assert_allclose(values[:, :6].sum(axis=1), 1.0, atol=1e-6)
        observed, model, _ = restored(fitted(), mode)
        assert (values[:, model.states : 6] == 0).all()
        part = steps(view(), mode, observed, range(frame.height))
        last = smooth(model, part).posterior[part.start[1:] - 1]
        np.testing.assert_allclose(values[:, : model.states], last, atol=1e-6)
        for name in ("entropy", "less_active_next", "distance_to_stationary"):
            column = values[:, MEASURES.index(name)]
            assert column.min() >= 0
            assert column.max() <= 1
        for name in ("remaining_dwell", "speed", "acceleration", "hitting_time"):
            assert values[:, MEASURES.index(name)].min() >= 0


def test_scales_are_of_the_training_rows() -> None:
    natural = np.zeros((2, 16))
    natural[:, [MEASURES.index(name) for name in SCALED]] = [[1.0], [-1e9]]
    result = scaled(natural, fitted(), LIFECYCLE)
    scale = fitted().arrays["lifecycle_measure_scale"]
    likelihood = float(fitted().arrays["lifecycle_likelihood"])
    expected = np.where([n == "log_likelihood" for n in SCALED], 1.0 - likelihood, 1.0) / scale
    np.testing.assert_allclose(
        result[0, [MEASURES.index(name) for name in SCALED]], np.clip(expected, -4.0, 4.0), rtol=1e-12
    )
    assert (result[1, [MEASURES.index(name) for name in SCALED]] == -4.0).all()


def test_a_customer_without_purchases_is_in_the_least_active_state() -> None:
    frame = Hmm().compute(view(), fitted(), {})
    idle = frame.filter(pl.col("customer_id") == "c000")
    assert side(idle, "lifecycle")[0, :6].argmax() == 0
    assert idle["hmm_summary__dominant_state"][0] == 0


def test_the_picture_of_a_customer() -> None:
    frame = Hmm().compute(view(), fitted(), {})
    place = 20
    who = view().customers["customer_id"][place]
    for mode in MODES:
        path = state_path(view(), fitted(), who, mode.name)
        assert path.height == lengths(view(), mode)[place]
        assert path["until"].to_list()[-1] == synthetic.AS_OF
        assert path["from"].to_list()[1:] == path["until"].to_list()[:-1]
        assert ((path["until"] - path["from"]).dt.total_days() == mode.days).all()
        posterior = path.select(pl.col("^posterior_.*$")).to_numpy()
        np.testing.assert_allclose(posterior[-1], side(frame, mode.name)[place, : posterior.shape[1]], atol=1e-6)
        assert path["state"].is_between(0, mode.states - 1).all()
    counted = state_path(view(), fitted(), who, "lifecycle")["state"].mode()
    assert frame["hmm_summary__dominant_state"][place] in counted.to_list()
    with pytest.raises(KeyError, match="nobody"):
        state_path(view(), fitted(), "nobody", "journey")
    with pytest.raises(KeyError, match="no HMM mode"):
        state_path(view(), fitted(), who, "x")
