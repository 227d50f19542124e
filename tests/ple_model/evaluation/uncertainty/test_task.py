"""u is a rank, a fallback never makes predictions worse, and what is fitted survives JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ple_model.evaluation.bootstrap import Interval
from ple_model.evaluation.uncertainty import BaseRates, Fallback, TaskUncertainty, Validation, fit_uncertainty
from ple_model.evaluation.uncertainty.scale import Scale
from ple_model.tasks import KINDS

CLUSTERS = 4
WIDTH = {"binary": 1, "multiclass": 5, "regression": 1, "contrastive": 30, "uplift": 1}
N, CUSTOMERS = 3_000, 600


def task(kind: str, seed: int, rows: int = N) -> dict[str, Any]:
    """Final predictions, labels that follow the cluster, posteriors, and a signal of where the labels are random."""
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(CLUSTERS, 0.3), rows)
    cluster, noise = posterior.argmax(axis=1), rng.random(rows)
    given: dict[str, Any] = {
        "cluster_probs": posterior,
        "customers": rng.integers(0, CUSTOMERS, rows),
        "mask": rng.random(rows) < 0.9,
        "signals": {"spread": noise, "missing": rng.random(rows)},
        "columns": rng.normal(size=(rows, 8)).astype(np.float32),
    }
    if kind == "binary":
        p = 0.1 + 0.2 * cluster
        truth = np.where(noise > 0.5, 0.5, p)
        return given | {"predictions": p + 0.1 * rng.random(rows), "labels": (rng.random(rows) < truth).astype(float)}
    if kind == "multiclass":
        p = 0.9 * np.eye(5)[cluster] + 0.02
        return given | {
            "predictions": p,
            "labels": np.where(rng.random(rows) < noise, rng.integers(0, 5, rows), cluster),
        }
    if kind in ("regression", "uplift"):
        return given | {
            "predictions": cluster + 0.1 * rng.random(rows),
            "labels": cluster + rng.normal(size=rows) * noise,
        }
    scores = rng.random((rows, 30)) + 5 * np.eye(30)[cluster]
    bought = np.where(rng.random(rows) < noise, rng.integers(0, 30, rows), cluster)
    return given | {"predictions": scores / scores.sum(axis=1, keepdims=True), "labels": bought[:, None]}


def fitted(kind: str, seed: int = 1, **changes: Any) -> TaskUncertainty:
    given = task(kind, seed) | changes
    train = task(kind, seed + 100)
    rates = BaseRates.fit(KINDS[kind], train["labels"], train["mask"], train["cluster_probs"], WIDTH[kind])
    return fit_uncertainty(KINDS[kind], Validation(**given), rates)


@pytest.mark.parametrize("kind", KINDS)
def test_u_is_published_where_the_signal_ranks_errors(kind: str) -> None:
    state, fresh = fitted(kind), task(kind, 2)
    judged = state.judge(fresh["predictions"], fresh["cluster_probs"], fresh["signals"], fresh["columns"])
    if kind == "uplift":  # the error of an effect cannot be seen
        assert state.signal is None
        assert "cannot be seen" in state.choice.note
        assert judged.u is None
        return
    assert state.signal == "spread"
    assert judged.u is not None
    assert np.corrcoef(judged.u, fresh["signals"]["spread"])[0, 1] > 0.999
    assert judged.u == pytest.approx(fresh["signals"]["spread"], abs=0.03)  # a uniform signal is its own rank
    assert "members disagree" in state.meanings()["uncertainty"]
    none = fitted(kind, signals={"missing": task(kind, 1)["signals"]["missing"]})
    assert none.signal is None
    assert none.judge(fresh["predictions"], fresh["cluster_probs"], {}, None).u is None
    assert "no signal ranks" in none.meanings()["uncertainty"]


def test_a_value_that_many_rows_share_has_the_middle_of_their_ranks() -> None:
    scale = Scale.fit(np.concatenate([np.zeros(400), np.arange(1.0, 601.0)]))
    assert scale.apply(np.array([0.0, 300.0, 600.0, -5.0, 900.0])) == pytest.approx([0.2, 0.7, 1, 0.2, 1], abs=0.02)
    assert (np.diff(scale.knots) > 0).all()
    assert (np.diff(scale.shares) > 0).all()


def test_a_fallback_that_errs_less_is_made_and_keeps_the_stated_share() -> None:
    """Where the signal is high the predictions are upside down, and the base rate is better than they are."""
    given = task("regression", 1)
    noise = given["signals"]["spread"]
    wrong = noise > 0.9
    given["predictions"] = np.where(wrong, 30.0, given["predictions"])
    given["labels"] = np.where(wrong, given["cluster_probs"].argmax(axis=1), given["labels"])
    rates = BaseRates.fit(KINDS["regression"], given["labels"], given["mask"], given["cluster_probs"], 1)
    state = fit_uncertainty(KINDS["regression"], Validation(**given), rates, coverage=0.95)
    if state.signal is None:  # all predictions of 30 share a bin: their noise must be ranked elsewhere
        pytest.fail(state.choice.note)
    assert state.fallback.threshold is not None
    assert state.fallback.change.high is not None
    assert state.fallback.change.high < 0
    assert state.fallback.kept == pytest.approx(0.95, abs=0.01)
    fresh = {**task("regression", 2)}
    judged = state.judge(fresh["predictions"], fresh["cluster_probs"], fresh["signals"])
    assert judged.u is not None
    assert np.array_equal(judged.fallback, judged.u > state.fallback.threshold)
    assert judged.fallback.mean() == pytest.approx(0.05, abs=0.015)
    plain = fresh["predictions"]
    assert np.array_equal(judged.predictions[~judged.fallback], plain[~judged.fallback])
    expected = state.base_rates.of(fresh["cluster_probs"][judged.fallback])
    assert np.array_equal(judged.predictions[judged.fallback], expected)
    assert judged.region is not None
    assert (judged.region[:, 0] <= judged.predictions).all()
    assert (judged.predictions <= judged.region[:, 1]).all()
    assert "5." in state.meanings()["fallback"] or "4." in state.meanings()["fallback"]


def test_a_fallback_that_errs_more_is_not_made() -> None:
    """The noise is around a right prediction: it is uncertain, and no base rate is nearer."""
    state, fresh = fitted("regression"), task("regression", 2)
    assert state.signal == "spread"
    assert state.fallback.threshold is None
    assert state.fallback.change.estimate is not None
    judged = state.judge(fresh["predictions"], fresh["cluster_probs"], fresh["signals"])
    assert not judged.fallback.any()
    assert np.array_equal(judged.predictions, fresh["predictions"])
    assert state.meanings()["fallback"].startswith("always false")


def test_a_class_task_that_is_too_sure_of_noise_falls_back() -> None:
    state, fresh = fitted("multiclass"), task("multiclass", 2)
    assert state.fallback.threshold == pytest.approx(0.98, abs=0.01)
    judged = state.judge(fresh["predictions"], fresh["cluster_probs"], fresh["signals"])
    assert judged.predictions.sum(axis=1) == pytest.approx(1)
    assert judged.region is not None
    assert judged.region[np.arange(N), judged.predictions.argmax(axis=1)].all()
    errors = [KINDS["multiclass"].errors(p, fresh["labels"]) for p in (judged.predictions, fresh["predictions"])]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[0][judged.fallback].mean() < errors[1][judged.fallback].mean()


def test_the_threshold_needs_an_interval_at_or_below_no_change() -> None:
    rng = np.random.default_rng(0)
    u, mask, customers = rng.random(2_000), np.ones(2_000, dtype=bool), rng.integers(0, 300, 2_000)
    better = Fallback.fit(u, mask, rng.normal(-1, 1, 2_000), customers, 0.9)
    assert better.threshold == pytest.approx(0.9, abs=0.02)
    assert better.kept >= 0.9
    level = Fallback.fit(u, mask, rng.normal(0, 1, 2_000), customers, 0.9)
    assert level.threshold is None
    assert level.change.estimate is not None
    assert "not err less" in level.note
    assert level.kept == 1
    assert Fallback.fit(u, ~mask, np.zeros(0), customers[:0], 0.9).threshold is None
    assert Fallback.fit(u, mask, np.full(2_000, -1.0), np.zeros(2_000), 0.9).threshold is None
    with pytest.raises(ValueError, match="coverage"):
        Fallback.fit(u, mask, np.zeros(2_000), customers, 98)


def test_base_rates_are_posterior_weighted_means_shrunk_to_the_population() -> None:
    rng = np.random.default_rng(0)
    hard = np.eye(3)[np.repeat([0, 1], [1_000, 10])]
    y = np.concatenate([rng.random(1_000) < 0.2, np.ones(10)]).astype(np.float64)
    mask = np.ones(1_010, dtype=bool)
    rates = BaseRates.fit(KINDS["binary"], y, mask, hard, 1)
    clusters = np.array(rates.clusters)[:, 0]
    population = y.mean()
    assert clusters[0] == pytest.approx((y[:1_000].sum() + 50 * population) / 1_050)
    assert clusters[1] == pytest.approx((10 + 50 * population) / 60)
    assert clusters[2] == pytest.approx(population)  # nobody's cluster
    mixed = rates.of(np.array([[0.25, 0.75, 0], [0, 0, 0]]))
    assert mixed == pytest.approx([0.25 * clusters[0] + 0.75 * clusters[1], population])
    half = BaseRates.fit(KINDS["binary"], y, mask, np.full((1_010, 3), 1 / 3), 1)
    assert np.array(half.clusters)[:, 0] == pytest.approx(population)
    with pytest.raises(ValueError, match="for 3 clusters"):
        rates.of(np.zeros((2, 20)))


def test_masked_rows_do_not_count() -> None:
    given = task("binary", 4)
    mask, y, posterior = given["mask"], given["labels"], given["cluster_probs"]
    clean = BaseRates.fit(KINDS["binary"], y[mask], mask[mask], posterior[mask], 1)
    before = fitted("binary", 4)
    y = np.where(mask, y, np.nan)
    assert BaseRates.fit(KINDS["binary"], y, mask, posterior, 1) == clean
    assert fitted("binary", 4, labels=y) == before
    with pytest.raises(ValueError, match="no training row"):
        BaseRates.fit(KINDS["binary"], y, np.zeros(N, dtype=bool), posterior, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_judged_by_itself_whatever_comes_with_it(kind: str) -> None:
    state, fresh = fitted(kind), task(kind, 2, 60)

    def judge(rows: slice) -> Any:
        signals = {name: values[rows] for name, values in fresh["signals"].items()}
        return state.judge(fresh["predictions"][rows], fresh["cluster_probs"][rows], signals, fresh["columns"][rows])

    whole, alone = judge(slice(None)), [judge(slice(i, i + 1)) for i in range(60)]
    for name in ("predictions", "u", "fallback", "region"):
        values = getattr(whole, name)
        if values is not None:
            assert np.concatenate([getattr(one, name) for one in alone]).tobytes() == values.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_json_gives_back_an_equal_state(kind: str) -> None:
    state = fitted(kind)
    assert TaskUncertainty.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False))) == state


def test_the_error_model_reads_the_columns_it_was_fitted_on() -> None:
    given = task("regression", 5)
    noise = given["signals"]["spread"]
    columns = np.stack([noise, *np.random.default_rng(0).random((5, N))], axis=1)
    state = fitted("regression", 5, signals={}, columns=columns)
    assert state.signal == "error model"
    assert "columns lead to expect" in state.meanings()["uncertainty"]
    u = state.u({}, columns)
    assert u is not None
    assert np.corrcoef(u, noise)[0, 1] > 0.9
    with pytest.raises(ValueError, match="reads 6 columns, 5 given"):
        state.u({}, columns[:, :5])
    with pytest.raises(ValueError, match="no signal 'spread' among"):
        fitted("regression").u({"evidence": noise}, None)


def test_customers_without_labels_and_rows_without_any() -> None:
    """Columns carry the noise, and a quarter of the customers has no label: their rows are on the scale as well."""
    given = task("regression", 6)
    columns = np.stack([given["signals"]["spread"], np.zeros(N)], axis=1)
    state = fitted("regression", 6, signals={}, columns=columns, mask=given["customers"] > CUSTOMERS / 4)
    assert state.signal == "error model"
    empty = fitted("regression", 6, mask=np.zeros(N, dtype=bool))
    assert empty.signal is None
    assert "no labelled validation row" in empty.choice.note
    assert empty.region is None
    assert not empty.judge(given["predictions"], given["cluster_probs"], {}).fallback.any()


def test_settings_and_signals_that_make_no_sense_are_errors() -> None:
    with pytest.raises(ValueError, match="signal 'spread' of 3000 rows is not finite"):
        fitted("regression", signals={"spread": np.full(N, np.nan)})
    given = task("regression", 1)
    rates = BaseRates.fit(KINDS["regression"], given["labels"], given["mask"], given["cluster_probs"], 1)
    with pytest.raises(ValueError, match="coverage 98"):
        fit_uncertainty(KINDS["regression"], Validation(**given), rates, coverage=98)
    assert Fallback.none(0.98, "x").change == Interval(None, None, None, "not tested")
